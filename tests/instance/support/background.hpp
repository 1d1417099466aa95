#pragma once

#include <string>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {

/// A program on an instance's client host, until the end of this object.
class Background {
 public:
  /// `log` is where what it prints goes.
  Background(const Instance& instance, const std::string& command, const std::string& log);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

 private:
  std::string pid_;
};

}  // namespace dualdeploy::testing
