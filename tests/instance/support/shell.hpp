#pragma once

#include <string>

namespace dualdeploy::testing {

struct Outcome {
  int status = 0;
  std::string output;  ///< Standard output and error.
};

/// Runs a shell command on this machine.
Outcome shell(const std::string& command);
/// A word that the shell takes as it is.
std::string quoted(const std::string& text);

}  // namespace dualdeploy::testing
