#include "instance/support/instance.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "instance/support/kernel.hpp"

namespace dualdeploy::testing {

namespace json = boost::json;

bool enter_client_network(const std::string& instance) {
  const int netns = ::open(("/run/netns/dd-" + instance + "-cli").c_str(), O_RDONLY | O_CLOEXEC);
  const bool entered = netns >= 0 && ::setns(netns, CLONE_NEWNET) == 0;
  if (netns >= 0) ::close(netns);
  return entered;
}

std::string rpm_directory() {
  const char* given = std::getenv("DUALDEPLOY_RPMS");
  return given != nullptr ? given : DD_SOURCE_DIR "/build/rpm";
}

namespace {
/// The RPM whose file name begins so, of whatever release; none: "".
std::string rpm_of(const std::string& begins) {
  for (const auto& entry : std::filesystem::directory_iterator(rpm_directory())) {
    const std::string file = entry.path().filename();
    if (file.starts_with(begins) && file.ends_with(".rpm")) return entry.path();
  }
  return "";
}
}  // namespace

Instance::Instance(const std::string& name, Agent agent) : name_(name) {
  (void)tool("down " + name_);
  const Outcome up = tool("up " + name_);
  EXPECT_EQ(up.status, 0) << up.output;
  if (agent == Agent::bare) return;
  do_inside(kernel().prepare);
  push(rpm_of("dualdeploy-sample-0"), "/root/sample.rpm");
  push(rpm_of("dualdeploy-0"), "/root/dualdeploy.rpm");
  // With a package beside them that stands for the distribution, dependencies are checked; else Debian's rpm knows of none.
  if (const std::string provides = rpm_of("centos7-provides"); !provides.empty()) {
    push(provides, "/root/provides.rpm");
    rpm_ = "rpm --force-debian ";
    rpm("-i /root/provides.rpm");
  }
  rpm("-i /root/sample.rpm");
  do_inside("systemctl start sample");
  do_inside("docker build -q -t dualdeploy-sample /usr/share/dualdeploy-sample");
  if (agent != Agent::absent) install_package();
  if (agent == Agent::running) {
    do_inside("systemctl start dualdeployd");
    until_healthy();
  }
}

Instance::Instance(const std::string& name, const Instance& image) : name_(name) {
  (void)tool("down " + name_);
  const Outcome up = tool("up " + name_ + " " + image.name_);
  EXPECT_EQ(up.status, 0) << up.output;
}

Instance::~Instance() { (void)tool("down " + name_); }

void Instance::install_agent() const {
  install_package();
  do_inside("systemctl start dualdeployd");
  until_healthy();
}

void Instance::rpm(const std::string& arguments) const { do_inside(rpm_ + arguments); }

void Instance::install_package() const {
  rpm("-i /root/dualdeploy.rpm");
  do_inside("echo 'traffic: {backend: " + kernel().backend + "}' >> /etc/dualdeploy/agent.yaml");
}

void Instance::write_agent_config(const std::string& content) const {
  write("/etc/dualdeploy/agent.yaml", content + "traffic: {backend: " + kernel().backend + "}\n");
}

Outcome Instance::tool(const std::string& arguments) const {
  return shell(std::string(DD_SOURCE_DIR) + "/tests/instance/instance " + arguments);
}
Outcome Instance::inside(const std::string& command) const {
  return tool("exec " + name_ + " -- sh -c " + quoted(command) + " </dev/null");
}
Outcome Instance::client(const std::string& command) const {
  return tool("client " + name_ + " -- sh -c " + quoted(command) + " </dev/null");
}
std::string Instance::do_inside(const std::string& command) const {
  Outcome outcome = inside(command);
  EXPECT_EQ(outcome.status, 0) << command << "\n" << outcome.output;
  return outcome.output;
}
std::string Instance::do_client(const std::string& command) const {
  Outcome outcome = client(command);
  EXPECT_EQ(outcome.status, 0) << command << "\n" << outcome.output;
  return outcome.output;
}
void Instance::push(const std::string& source, const std::string& destination) const {
  const Outcome outcome = tool("push " + name_ + " " + quoted(source) + " " + quoted(destination));
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}
void Instance::push_program(const std::string& path) const {
  push(path, path);
  std::istringstream libraries(shell("ldd " + path + " | grep -o '/[^ ]*'").output);
  for (std::string library; std::getline(libraries, library);) {
    if (inside("test -e " + library).status != 0) push(library, library);
  }
}

void Instance::write(const std::string& path, const std::string& content) const {
  do_inside("printf %s " + quoted(content) + " > " + quoted(path));
}
void Instance::build_image(const std::string& program, const std::string& image) const {
  const std::string context = "/root/image-" + image;
  write("/root/Dockerfile", "FROM scratch\nCOPY . /\nENTRYPOINT [\"" + program + "\"]\n");
  do_inside("mkdir " + context + " && cp -L --parents " + program + " $(ldd " + program + " | grep -o '/[^ ]*') " + context +
            " && docker build -q -t " + image + " -f /root/Dockerfile " + context);
}
void Instance::reboot() const {
  const Outcome outcome = tool("reboot " + name_);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}
void Instance::power_cut() const {
  const Outcome outcome = tool("crash " + name_);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}

void Instance::stop() const {
  const Outcome outcome = tool("stop " + name_);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}
void Instance::start() const {
  const Outcome outcome = tool("start " + name_);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
}

json::value Instance::status() const {
  const Outcome outcome = inside("dualctl --json status sample");
  boost::system::error_code error;
  json::value value = json::parse(outcome.output, error);
  return error ? json::value(json::object()) : value;
}

namespace {
std::string at(const json::value& value, const std::string& pointer) {
  boost::system::error_code error;
  const json::value* found = value.find_pointer(pointer, error);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}
}  // namespace

std::string Instance::route() const { return at(status(), "/route/effective"); }
std::string Instance::health(const std::string& side) const { return at(status(), "/sides/" + side + "/health"); }
std::string Instance::history() const { return inside("dualctl history -n 1000").output; }
std::string Instance::container_pid() const {
  std::string pid = inside("docker inspect -f '{{.State.Pid}}' dualdeploy-sample").output;
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid;
}

std::string Instance::answered_by(const std::string& host) const {
  const Outcome outcome = client("curl -s -m 2 -o /dev/null -D - http://" + host + "/ | tr -d '\\r' | sed -n 's/^X-Side: //p'");
  return outcome.output.empty() ? "none" : outcome.output.substr(0, outcome.output.find('\n'));
}

void Instance::flip(const std::string& side) const { do_inside("dualctl flip sample " + side + " --wait"); }

void Instance::until(const std::string& what, const std::function<bool()>& holds, std::chrono::seconds deadline) const {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) {
      FAIL() << "not within " << deadline.count() << " s: " << what << "\n"
             << inside("dualctl status; journalctl -u dualdeployd -n 60 --no-pager").output;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // The condition is outside of this process: no event.
  }
}

void Instance::until_healthy() const {
  until("both sides healthy", [this] { return health("rpm") == "healthy" && health("container") == "healthy"; });
}

}  // namespace dualdeploy::testing
