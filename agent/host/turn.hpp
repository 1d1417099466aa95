#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace dualdeploy::host {

/// One at a time, in order of asking, for coroutines of one io_context: `const auto held = co_await turn.take();`.
class Turn {
  using Channel = boost::asio::experimental::channel<void(boost::system::error_code)>;

 public:
  /// Gives the turn to the next when it goes out of scope.
  class Held {
   public:
    explicit Held(Channel& channel) : channel_(&channel) {}
    Held(Held&& from) noexcept : channel_(std::exchange(from.channel_, nullptr)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (channel_ != nullptr) channel_->try_send(boost::system::error_code{});
    }

   private:
    Channel* channel_;
  };

  explicit Turn(boost::asio::any_io_executor executor) : channel_(std::move(executor), 1) {
    channel_.try_send(boost::system::error_code{});
  }

  [[nodiscard]] boost::asio::awaitable<Held> take() {
    co_await channel_.async_receive(boost::asio::use_awaitable);
    co_return Held(channel_);
  }

 private:
  Channel channel_;
};

}  // namespace dualdeploy::host
