#include "control/health_listener.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <thread>

namespace dualdeploy::control {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class HealthListenerTest : public ::testing::Test {
 protected:
  static asio::awaitable<FrontHealth> health_of(std::string service) {
    if (service == "shop" || service.empty()) co_return FrontHealth{200, "ok"};
    if (service == "blog") co_return FrontHealth{503, "leaving"};
    co_return FrontHealth{404, "there is no such service"};
  }
  void SetUp() override {
    ASSERT_TRUE(listener.listen("127.0.0.1:0"));
    thread = std::jthread([this] { loop.run(); });
  }
  void TearDown() override {
    loop.stop();
    thread.join();
  }
  tcp::socket connected() {
    tcp::socket socket(mine);
    socket.connect({asio::ip::make_address("127.0.0.1"), listener.port()});
    return socket;
  }
  /// All that comes until the listener closes.
  static std::string rest(tcp::socket& socket) {
    std::string answer;
    boost::system::error_code error;
    asio::read(socket, asio::dynamic_buffer(answer), error);
    return answer;
  }
  std::string ask(const std::string& request) {
    tcp::socket socket = connected();
    asio::write(socket, asio::buffer(request));
    return rest(socket);
  }
  std::string get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }

  asio::io_context loop;
  asio::io_context mine;
  HealthListener listener{loop.get_executor(), health_of, {.connections = 4, .exchange = Milliseconds{300}}};
  std::jthread thread;
};

TEST_F(HealthListenerTest, AnswersAndCloses) {
  EXPECT_THAT(get("/healthz/shop"), AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Connection: close"), EndsWith("\r\n\r\nok\n")));
  EXPECT_THAT(get("/healthz/blog"), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("leaving\n")));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get("/healthz/?x=1"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get("/healthz/none"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/healthz/shop/x"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get("/v1/status"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(ask("HEAD /healthz/shop HTTP/1.0\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Content-Length: 3"), EndsWith("\r\n\r\n")));
}

TEST_F(HealthListenerTest, TakesNothingElse) {
  EXPECT_THAT(ask("POST /healthz/shop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"), StartsWith("HTTP/1.1 405 "));
  EXPECT_EQ(ask("\x16\x03\x01 hello\r\n\r\n"), "");
  EXPECT_EQ(ask("GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n"), "");
}

TEST_F(HealthListenerTest, SilentClientsKeepNobodyOut) {
  std::vector<tcp::socket> idle;
  for (int i = 0; i < 10; ++i) idle.push_back(connected());
  EXPECT_THAT(get("/healthz/shop"), StartsWith("HTTP/1.1 200 "));
  for (tcp::socket& socket : idle) EXPECT_EQ(rest(socket), "");  // Each is closed: crowded out, or late.
}

TEST_F(HealthListenerTest, AnAddressThatIsTakenIsNamed) {
  HealthListener second(loop.get_executor(), health_of, {});
  const std::string address = "127.0.0.1:" + std::to_string(listener.port());
  const auto listening = second.listen(address);
  ASSERT_FALSE(listening);
  EXPECT_THAT(listening.error().message, AllOf(HasSubstr("cannot listen on " + address), HasSubstr("in use")));
}

}  // namespace
}  // namespace dualdeploy::control
