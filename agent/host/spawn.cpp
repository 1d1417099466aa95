#include "host/spawn.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <cstdlib>
#include <exception>
#include <string>

namespace dualdeploy::host {

void spawn(const boost::asio::any_io_executor& executor, std::string_view what, boost::asio::awaitable<void> task) {
  boost::asio::co_spawn(executor, std::move(task), [name = std::string(what)](const std::exception_ptr& error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const boost::system::system_error& problem) {
      if (problem.code() == boost::asio::error::operation_aborted) return;  // The loop is being taken down.
      spdlog::critical("{}: {}", name, problem.what());
    } catch (const std::exception& problem) {
      spdlog::critical("{}: {}", name, problem.what());
    }
    spdlog::shutdown();
    std::abort();
  });
}

}  // namespace dualdeploy::host
