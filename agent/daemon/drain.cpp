#include "daemon/drain.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "host/clock.hpp"
#include "host/spawn.hpp"
#include "traffic/connections.hpp"

namespace dualdeploy::daemon {

namespace asio = boost::asio;

namespace {

/// The kernel has no event for "the last connection of a port ended".
constexpr Milliseconds count_interval{500};
/// To count takes the kernel some milliseconds: who asked for the change gets his answer first.
constexpr Milliseconds first_count_delay{50};

std::vector<std::uint16_t> ports_of(const std::vector<config::Port>& ports, Side side) {
  std::vector<std::uint16_t> numbers;
  for (const config::Port& port : ports) {
    if (port.protocol == config::Protocol::tcp) numbers.push_back(side == Side::rpm ? port.rpm : port.container);
  }
  return numbers;
}

std::string connections_text(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " connection" : " connections");
}

}  // namespace

asio::awaitable<Expected<std::vector<PerSide<std::size_t>>>> count_connections_of_each(std::vector<std::vector<config::Port>> services,
                                                                                       std::uint32_t probe_mark) {
  std::vector<std::uint16_t> all;
  for (const std::vector<config::Port>& ports : services) {
    for (const Side side : both_sides) {
      for (const std::uint16_t port : ports_of(ports, side)) all.push_back(port);
    }
  }
  const auto counted = co_await traffic::count_connections(std::move(all), probe_mark);
  if (!counted) co_return std::unexpected(counted.error());
  std::vector<PerSide<std::size_t>> sums(services.size());
  for (std::size_t i = 0; i < services.size(); ++i) {
    for (const Side side : both_sides) {
      for (const std::uint16_t port : ports_of(services[i], side)) sums[i][side] += counted->at(port);
    }
  }
  co_return sums;
}

asio::awaitable<Expected<PerSide<std::size_t>>> count_connections(std::vector<config::Port> ports, std::uint32_t probe_mark) {
  std::vector<std::vector<config::Port>> one{std::move(ports)};
  auto counted = co_await count_connections_of_each(std::move(one), probe_mark);
  if (!counted) co_return std::unexpected(std::move(counted.error()));
  co_return counted->front();
}

Drain::Drain(asio::any_io_executor executor, std::uint32_t probe_mark, OnRecord on_record)
    : timer_(std::move(executor)), probe_mark_(probe_mark), on_record_(std::move(on_record)) {}

void Drain::start(Side side, std::vector<config::Port> ports, config::Drain policy) {
  stop();
  const Instant now = host::now();
  const bool closes = policy.then == config::Drain::Then::close;
  progress_ = Progress{side, std::nullopt, now, closes ? std::optional(now + policy.timeout) : std::nullopt};
  host::spawn(timer_.get_executor(), "drain", watch(shared_from_this(), std::move(ports), policy, generation_));
}

void Drain::stop() {
  ++generation_;
  progress_.reset();
  timer_.cancel();
}

asio::awaitable<void> Drain::watch(std::shared_ptr<Drain> self, std::vector<config::Port> ports, config::Drain policy,
                                   std::uint64_t generation) {
  std::size_t at_first = 0;
  for (bool first = true;; first = false) {
    boost::system::error_code woken;
    self->timer_.expires_after(first ? first_count_delay : count_interval);
    co_await self->timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    if (self->generation_ != generation) co_return;
    auto counted = co_await dualdeploy::daemon::count_connections(ports, self->probe_mark_);
    if (self->generation_ != generation) co_return;
    Progress& progress = *self->progress_;
    const std::string side(name_of(progress.side));
    if (!counted) {
      self->record("cannot count the connections left on " + side + ": " + counted.error().message, Result::failed);
      self->progress_.reset();
      co_return;
    }
    const std::size_t left = (*counted)[progress.side];
    progress.left = left;
    const Milliseconds age = host::now() - progress.since;
    if (first) at_first = left;
    if (left == 0) {
      if (!first) self->record(side + " is drained: the last of " + connections_text(at_first) + " ended after " + format_duration(age));
      self->progress_.reset();
      co_return;
    }
    if (first) {
      self->record(connections_text(left) + " left on " + side +
                   (progress.closes_at ? "; they are closed in " + format_duration(policy.timeout) : ""));
    }
    if (progress.closes_at && host::now() >= *progress.closes_at) {
      co_await self->close(std::move(ports), age);
      co_return;
    }
  }
}

asio::awaitable<void> Drain::close(std::vector<config::Port> ports, Milliseconds after) {
  const auto self = shared_from_this();
  const std::uint64_t generation = generation_;
  const std::string side(name_of(progress_->side));
  std::vector<std::uint16_t> numbers = ports_of(ports, progress_->side);
  const auto closed = co_await traffic::close_connections(std::move(numbers), probe_mark_);
  if (generation_ != generation) co_return;
  if (closed) {
    record("closed " + connections_text(*closed) + " left on " + side + " after " + format_duration(after));
  } else {
    record("cannot close the connections left on " + side + ": " + closed.error().message, Result::failed);
  }
  progress_.reset();
}

void Drain::record(std::string message, Result result) const {
  on_record_(Record{.kind = RecordKind::drain, .side = progress_->side, .message = std::move(message), .result = result});
}

}  // namespace dualdeploy::daemon
