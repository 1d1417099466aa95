#pragma once

#include <string>

namespace dualdeploy::testing {

struct Outcome {
  int status = 0;
  std::string output;  ///< Standard output and error.
};

/// Runs a shell command on this machine.
Outcome shell(const std::string& command);
/// The same; a status other than 0 fails the test. Its output without the line feeds at its end.
std::string do_shell(const std::string& command);
/// A directory that goes with the test.
struct Scratch {
  std::string path = do_shell("mktemp -d /tmp/dualdeploy-test-XXXXXX");
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { (void)shell("rm -rf " + path); }
};
/// A word that the shell takes as it is.
std::string quoted(const std::string& text);

}  // namespace dualdeploy::testing
