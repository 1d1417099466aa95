#include "instance/support/load.hpp"

#include <chrono>
#include <sstream>

namespace dualdeploy::testing {

Load::Load(const Instance& instance, Kind kind, int seconds, const std::string& host, int connections)
    : instance_(instance) {
  const std::string header = kind == Kind::connection_per_request ? " -H 'Connection: close'" : "";
  const std::string command = "echo $$ >" + scratch_.path + "/pid; exec wrk -t1 -c" + std::to_string(connections) + " --timeout 5s -d" + std::to_string(seconds) + header + " http://" + host + "/";
  run_ = std::async(std::launch::async, [&instance, command] { return instance.client(command); });
}

Load::Report Load::stop() {
  instance_.do_client("kill -INT $(cat " + scratch_.path + "/pid)");  // wrk reports what it has.
  return finish();
}

bool Load::is_over() const { return run_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

Load::Report Load::finish() {
  Report report;
  report.text = run_.get().output;
  std::istringstream lines(report.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("Socket errors") != std::string::npos || line.find("Non-2xx") != std::string::npos ||
        line.find("unable to connect") != std::string::npos) {
      report.errors += line + "\n";
    }
    if (line.find(" requests in ") != std::string::npos) report.requests = std::stol(line);
  }
  return report;
}

}  // namespace dualdeploy::testing
