#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

/// The other side of host/helper.hpp: the program dualdeploy-helper, run by dualdeploy-helper.service.
namespace dualdeploy::helper {

/// Answers on a listening unix socket, to its own user alone (SO_PEERCRED):
///   {"run": {argv, input, environment, uid, gid, deadline_ms, output_bytes}}  runs a program to its end;
///   {"holders": {inode, pid}}                                                 who holds a socket, see traffic/listeners.hpp.
/// A program whose caller closes its connection is killed, as it would be with a caller that runs it itself.
class Server {
 public:
  Server(const boost::asio::any_io_executor& executor, int listening_socket);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Serves the sockets that systemd has passed until SIGTERM; returns the exit status.
int run();

}  // namespace dualdeploy::helper
