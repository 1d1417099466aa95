#include "config/config.hpp"

namespace dualdeploy::config {

std::string_view name_of(Protocol protocol) {
  switch (protocol) {
    case Protocol::tcp:
      return "tcp";
    case Protocol::udp:
      return "udp";
  }
  return "tcp";
}

std::string describe(const Problem& problem) {
  std::string text = problem.file.string();
  if (problem.line > 0) text += ":" + std::to_string(problem.line) + ":" + std::to_string(problem.column);
  return text + ": " + problem.message;
}

}  // namespace dualdeploy::config
