#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "config/config.hpp"
#include "core/service.hpp"

namespace dualdeploy::daemon {

/// How many connections clients have open to each side, TCP ports only.
[[nodiscard]] boost::asio::awaitable<Expected<PerSide<std::size_t>>> count_connections(std::vector<config::Port> ports,
                                                                                     std::uint32_t probe_mark);
/// The same of several services, in their order, by one look at the kernel: it goes through all connections however few ports
/// it is asked for.
[[nodiscard]] boost::asio::awaitable<Expected<std::vector<PerSide<std::size_t>>>> count_connections_of_each(
    std::vector<std::vector<config::Port>> services, std::uint32_t probe_mark);

/// Watches the old connections of a side that gets no new ones, until the last has ended; or ends them after a while, if
/// the configuration says so. What happens goes on record.
class Drain : public std::enable_shared_from_this<Drain> {
 public:
  using OnRecord = std::function<void(Record)>;
  Drain(boost::asio::any_io_executor executor, std::uint32_t probe_mark, OnRecord on_record);

  /// `side` has lost its share of the route. A drain of the other side, or an older one, ends.
  void start(Side side, std::vector<config::Port> ports, config::Drain policy);
  void stop();

  struct Progress {
    Side side = Side::rpm;
    std::optional<std::size_t> left;  ///< Not counted yet, at the beginning.
    Instant since;
    std::optional<Instant> closes_at;
  };
  /// Of the drain going on, as last counted.
  [[nodiscard]] const std::optional<Progress>& progress() const { return progress_; }

 private:
  static boost::asio::awaitable<void> watch(std::shared_ptr<Drain> self, std::vector<config::Port> ports,
                                            config::Drain policy, std::uint64_t generation);
  [[nodiscard]] boost::asio::awaitable<void> close(std::vector<config::Port> ports, Milliseconds after);
  void record(std::string message, Result result = Result::done) const;

  boost::asio::steady_timer timer_;
  std::uint32_t probe_mark_;
  OnRecord on_record_;
  std::optional<Progress> progress_;
  std::uint64_t generation_ = 0;
};

}  // namespace dualdeploy::daemon
