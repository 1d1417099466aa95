#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "instance/support/shell.hpp"

/// A booted instance for one test: systemd, Docker, the agent and the sample service installed from their RPMs, the
/// image built inside. Commands are those of tests/instance/instance.
namespace dualdeploy::testing {

/// The RPMs under test: DUALDEPLOY_RPMS, or build/rpm.
std::string rpm_directory();

/// The calling thread alone: the sockets that it makes from here on are the client host's.
[[nodiscard]] bool enter_client_network(const std::string& instance);

class Instance {
 public:
  enum class Agent {
    running,
    installed,
    absent,  ///< The sample service alone.
    bare,    ///< Nothing of ours at all.
  };
  explicit Instance(const std::string& name, Agent agent = Agent::running);
  /// Boots the disk of another, which is stopped, as an image.
  Instance(const std::string& name, const Instance& image);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  /// A shell command inside, or on the client host.
  [[nodiscard]] Outcome inside(const std::string& command) const;
  [[nodiscard]] Outcome client(const std::string& command) const;
  /// The same; a status other than 0 fails the test.
  std::string do_inside(const std::string& command) const;
  std::string do_client(const std::string& command) const;
  void push(const std::string& source, const std::string& destination) const;
  /// A program of this host, with the libraries that the instance lacks.
  void push_program(const std::string& path) const;
  void write(const std::string& path, const std::string& content) const;
  /// agent.yaml, with the backend under test added.
  void write_agent_config(const std::string& content) const;
  /// An image of a program of the instance: FROM scratch, the binary and the shared libraries it wants.
  void build_image(const std::string& program, const std::string& image) const;
  void reboot() const;
  void power_cut() const;
  /// Powers it off from inside; start() boots what is on its disk.
  void stop() const;
  void start() const;
  void install_agent() const;
  /// The `rpm` command, which installs /root/sample.rpm and /root/dualdeploy.rpm.
  void rpm(const std::string& arguments) const;

  [[nodiscard]] boost::json::value status() const;             ///< Of `sample`.
  [[nodiscard]] std::string route() const;                     ///< As effective.
  [[nodiscard]] std::string health(const std::string& side) const;
  /// "rpm" or "container", as a new connection from the client host finds it; "none" if nobody answers.
  [[nodiscard]] std::string answered_by(const std::string& host = "192.0.2.1") const;
  void flip(const std::string& side) const;
  /// Until the condition holds; a deadline that passes fails the test with `what` and the agent's journal.
  void until(const std::string& what, const std::function<bool()>& holds,
             std::chrono::seconds deadline = std::chrono::seconds(60)) const;
  void until_healthy() const;
  [[nodiscard]] std::string history() const;
  [[nodiscard]] std::string container_pid() const;

 private:
  void install_package() const;
  [[nodiscard]] Outcome tool(const std::string& arguments) const;
  std::string name_;
  std::string rpm_ = "rpm --nodeps ";
};

}  // namespace dualdeploy::testing
