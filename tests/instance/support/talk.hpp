#pragma once

#include <functional>
#include <string>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {

/// Asks over a connection that stays open (socat address, "TCP4:192.0.2.1:80"), before and after `between`.
/// \returns what the server answered, a line each: which side, and what it had been told.
std::string talk(const Instance& instance, const std::string& address, const std::function<void()>& between);

}  // namespace dualdeploy::testing
