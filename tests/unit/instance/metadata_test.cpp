#include "instance/metadata.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <set>

#include "instance/metadata_stand_in.hpp"
#include "support_loop.hpp"

namespace dualdeploy::instance {
namespace {

using namespace std::chrono_literals;
using boost::asio::ip::tcp;
using testing::MetadataStandIn;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Fault = MetadataStandIn::Fault;

constexpr const char* id = "i-0123456789abcdef0";
constexpr const char* token = "api/token";
constexpr const char* id_path = "meta-data/instance-id";
/// Nothing of what is expected to work may fail because the machine is busy.
constexpr Milliseconds patient{30'000};

std::string answer(const std::string& status, const std::string& body = "") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Readable where two errors differ.
std::string told(const Error& error) { return std::string(name_of(error.code)) + ": " + error.message; }

class MetadataTest : public ::testing::Test {
 protected:
  using Value = Expected<std::optional<std::string>>;

  Metadata client(const std::string& endpoint, Milliseconds timeout = patient) {
    return Metadata(loop.get_executor(), {.endpoint = endpoint, .timeout = timeout}, [this] { return time; });
  }
  Value get(Metadata& metadata, const std::string& path = "instance-id") {
    return dualdeploy::testing::run(loop, metadata.get(path));
  }
  /// Of a client that has asked nothing before.
  Error error_of(const std::string& endpoint, Milliseconds timeout = patient) {
    Metadata metadata = client(endpoint, timeout);
    const Value value = get(metadata);
    return value ? Error{ErrorCode::failed, "no error: " + value->value_or("nothing")} : value.error();
  }
  /// When the service answers so where the value was asked for.
  Error error_with(const std::string& target, Fault fault, Milliseconds timeout = patient) {
    const auto service = std::make_unique<MetadataStandIn>(loop);
    service->set_fault(target, std::move(fault));
    where = service->endpoint();
    Error error = error_of(service->endpoint(), timeout);
    asked = service->asked();
    return error;
  }
  [[nodiscard]] std::string about(const std::string& what, const std::string& happened) const {
    return "metadata service at " + where + ": " + what + ": " + happened;
  }
  [[nodiscard]] std::string about_id(const std::string& happened) const {
    return about("GET /latest/meta-data/instance-id", happened);
  }
  [[nodiscard]] std::string about_token(const std::string& happened) const {
    return about("PUT /latest/api/token", happened);
  }

  boost::asio::io_context loop;
  Instant time{1'000'000ms};
  std::string where;               ///< Of the last error_with().
  std::vector<std::string> asked;  ///< In the last error_with().
};

TEST_F(MetadataTest, ATokenFirstThenTheValue) {
  const MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  ASSERT_EQ(service.requests().size(), 2U);
  const auto& put = service.requests()[0];
  EXPECT_EQ(put.line, "PUT /latest/api/token");
  EXPECT_EQ(put.headers.at("x-aws-ec2-metadata-token-ttl-seconds"), "21600");
  EXPECT_EQ(put.headers.at("content-length"), "0");
  EXPECT_FALSE(put.headers.contains("x-aws-ec2-metadata-token"));
  const auto& get_id = service.requests()[1];
  EXPECT_EQ(get_id.line, "GET /latest/meta-data/instance-id");
  EXPECT_EQ(get_id.headers.at("x-aws-ec2-metadata-token"), "token-1==");
  EXPECT_FALSE(get_id.headers.contains("x-aws-ec2-metadata-token-ttl-seconds"));
  for (const auto& request : service.requests()) {
    EXPECT_EQ(request.headers.at("host"), service.authority());
    EXPECT_EQ(request.headers.at("connection"), "close");
  }
}

TEST_F(MetadataTest, Ipv6) {
  const MetadataStandIn service(loop, "::1");
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.requests()[0].headers.at("host"), HasSubstr("[::1]:"));
}

TEST_F(MetadataTest, NotFoundIsNothing) {
  const MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata, "spot/instance-action"), std::nullopt);
  EXPECT_EQ(dualdeploy::testing::run(loop, metadata.user_data()), std::nullopt);
}

TEST_F(MetadataTest, AValueMayBeEmpty) {
  MetadataStandIn service(loop);
  service.set_value("/latest/meta-data/tags/instance/Owner+a=b@c,d:e_f", "");
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata, "tags/instance/Owner+a=b@c,d:e_f"), "");
}

TEST_F(MetadataTest, UserDataIsAnyBytes) {
  std::string bytes;
  for (int i = 0; i < 1024; ++i) bytes += static_cast<char>(i % 256);
  MetadataStandIn service(loop);
  service.set_value("/latest/user-data", bytes);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(dualdeploy::testing::run(loop, metadata.user_data()), bytes);
}

TEST_F(MetadataTest, AnAnswerInChunks) {
  MetadataStandIn service(loop);
  service.set_fault(MetadataStandIn::id_target,
                    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ni-0\r\n2\r\n12\r\n0\r\n\r\n"});
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), "i-012");
}

TEST_F(MetadataTest, TwoGetsUseOneToken) {
  const MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path, id_path));
}

TEST_F(MetadataTest, TheTokenIsRenewedShortlyBeforeItsEnd) {
  const MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  time += 21'600s - 60s - 1ms;
  EXPECT_EQ(get(metadata), id);
  time += 1ms;
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path, id_path, token, id_path));
  EXPECT_EQ(service.requests().back().headers.at("x-aws-ec2-metadata-token"), "token-2==");
}

TEST_F(MetadataTest, TheServiceMayGrantLess) {
  MetadataStandIn service(loop);
  service.set_lifetime(300s);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  time += 239s;
  EXPECT_EQ(get(metadata), id);
  time += 1s;
  service.set_lifetime(-1s);  // Nonsense: the token is used once.
  EXPECT_EQ(get(metadata), id);
  service.set_lifetime(std::nullopt);
  EXPECT_EQ(get(metadata), id);
  time += 21'600s - 61s;
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path, id_path, token, id_path, token, id_path, id_path));
}

TEST_F(MetadataTest, ATokenThatIsRefusedIsFetchedAnew) {
  MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  service.forget_tokens();
  EXPECT_EQ(get(metadata), id);
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path, id_path, token, id_path, id_path));
}

TEST_F(MetadataTest, ButOnlyOnce) {
  const Error error = error_with(MetadataStandIn::id_target, {answer("401 Unauthorized")});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_id("HTTP 401: it does not take its own token")}));
  EXPECT_THAT(asked, ElementsAre(token, id_path, token, id_path));
}

TEST_F(MetadataTest, ARefusedTokenIsNotKeptOverAFailedRenewal) {
  MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata), id);
  service.forget_tokens();
  service.set_fault(MetadataStandIn::token_target, {answer("503 Service Unavailable")});
  EXPECT_FALSE(get(metadata));
  service.clear_faults();
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path, id_path, token, token, id_path));
}

struct Status {
  std::string line;
  std::string happened;
};

void PrintTo(const Status& status, std::ostream* out) { *out << status.line; }

class MetadataStatus : public MetadataTest, public ::testing::WithParamInterface<Status> {};

TEST_P(MetadataStatus, OfAValueIsUnknown) {
  const Error error = error_with(MetadataStandIn::id_target, {answer(GetParam().line, "i-other")});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_id(GetParam().happened)}));
  EXPECT_THAT(asked, ElementsAre(token, id_path));
}

TEST_P(MetadataStatus, OfATokenIsUnknown) {
  const Error error = error_with(MetadataStandIn::token_target, {answer(GetParam().line, "a-token")});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_token(GetParam().happened)}));
  EXPECT_THAT(asked, ElementsAre(token));
}

INSTANTIATE_TEST_SUITE_P(
    Metadata, MetadataStatus,
    ::testing::Values(
        Status{"201 Created", "HTTP 201"}, Status{"400 Bad Request", "HTTP 400"},
        Status{"403 Forbidden", "HTTP 403: it is switched off for this instance, or forbids this"},
        Status{"429 Too Many Requests", "HTTP 429: it is busy, or throttles"},
        Status{"500 Internal Server Error", "HTTP 500"},
        Status{"503 Service Unavailable", "HTTP 503: it is busy, or throttles"}),
    [](const auto& given) { return given.param.line.substr(0, 3); });

TEST_F(MetadataTest, AServiceWithoutTokensIsUnknown) {
  const Error error = error_with(MetadataStandIn::token_target, {answer("404 Not Found")});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_token("HTTP 404: it gives no tokens")}));
}

TEST_F(MetadataTest, ATokenIsNotAskedForTwiceAtA401) {
  EXPECT_THAT(error_with(MetadataStandIn::token_target, {answer("401 Unauthorized")}).message, HasSubstr("HTTP 401"));
  EXPECT_THAT(asked, ElementsAre(token));
}

TEST_F(MetadataTest, RedirectsAreNotFollowed) {
  MetadataStandIn service(loop);
  service.set_value("/latest/elsewhere", "i-other");
  service.set_fault(MetadataStandIn::id_target, {"HTTP/1.1 302 Found\r\nLocation: " + service.endpoint() +
                                                 "/latest/elsewhere\r\nContent-Length: 0\r\n\r\n"});
  EXPECT_THAT(error_of(service.endpoint()).message, HasSubstr("HTTP 302: redirects are not followed"));
  EXPECT_THAT(service.asked(), ElementsAre(token, id_path));
}

TEST_F(MetadataTest, Garbage) {
  const Error error = error_with(MetadataStandIn::id_target, {"SSH-2.0-OpenSSH_9.2\r\n\r\n"});
  EXPECT_EQ(error.code, ErrorCode::unreachable);
  EXPECT_THAT(error.message, HasSubstr(about_id("the answer is not HTTP: ")));
}

TEST_F(MetadataTest, ClosedWithoutAnAnswer) {
  const Error error = error_with(MetadataStandIn::id_target, {""});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_id("the connection was closed without an answer")}));
}

TEST_F(MetadataTest, ClosedInTheMiddle) {
  const std::string whole = answer("200 OK", id);
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ni-0\r\n";
  for (const std::string& part : {whole.substr(0, 20), whole.substr(0, whole.size() - 1), chunked}) {
    const Error error = error_with(MetadataStandIn::id_target, {part});
    const std::string expected = about_id("the connection was closed in the middle of the answer");
    EXPECT_EQ(told(error), told({ErrorCode::unreachable, expected}));
  }
}

TEST_F(MetadataTest, AnAnswerOfUnknownLengthMayBeHalfOfIt) {
  const Error error = error_with(MetadataStandIn::id_target, {"HTTP/1.1 200 OK\r\n\r\ni-0123"});
  EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_id("the answer does not tell its length")}));
}

TEST_F(MetadataTest, SixtyFourKibibytesAreTheLimit) {
  MetadataStandIn service(loop);
  const std::string longest(64 * 1024, 'x');
  service.set_value("/latest/meta-data/long", longest);
  Metadata metadata = client(service.endpoint());
  EXPECT_EQ(get(metadata, "long"), longest);
  const std::string too_long = longest + "x";
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + longest +
                              "\r\n1\r\nx\r\n0\r\n\r\n";
  for (const std::string& sent : {answer("200 OK", too_long), chunked, "HTTP/1.1 200 OK\r\n\r\n" + too_long}) {
    const Error error = error_with(MetadataStandIn::id_target, {sent, Fault::Then::keep_quiet});
    EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_id("the answer has more than 64 KiB")}));
  }
}

TEST_F(MetadataTest, AHeaderHasALimitToo) {
  const std::string sent = "HTTP/1.1 200 OK\r\nX-Long: " + std::string(200'000, 'x');
  const Error error = error_with(MetadataStandIn::id_target, {sent, Fault::Then::keep_quiet});
  EXPECT_EQ(error.code, ErrorCode::unreachable);
  EXPECT_THAT(error.message, HasSubstr(about_id("the answer is not HTTP: ")));
}

TEST_F(MetadataTest, ATokenThatWouldSpoilTheNextRequestIsNone) {
  for (const std::string& body : {std::string(), std::string("a b"), std::string("a\r\nHost: x"), std::string("\0", 1),
                                  std::string("t\xc3\xb6ken"), std::string(1025, 'x')}) {
    const Error error = error_with(MetadataStandIn::token_target, {answer("200 OK", body)});
    EXPECT_EQ(told(error), told({ErrorCode::unreachable, about_token("the answer is no token")}));
    EXPECT_THAT(asked, ElementsAre(token));
  }
}

// Where the short deadline is met, connecting or reading, is up to the machine.
TEST_F(MetadataTest, NoTokenInTime) {
  const std::string half = answer("200 OK", id).substr(0, 30);
  for (const std::string& sent : {std::string(), half}) {
    const Error error = error_with(MetadataStandIn::token_target, {sent, Fault::Then::keep_quiet}, 100ms);
    EXPECT_EQ(error.code, ErrorCode::timed_out);
    EXPECT_THAT(error.message, AllOf(HasSubstr(about_token("no ")), HasSubstr("within 100ms")));
  }
}

TEST_F(MetadataTest, NoValueInTime) {
  MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint(), 1'000ms);
  EXPECT_EQ(get(metadata), id);
  service.set_fault(MetadataStandIn::id_target, {"", Fault::Then::keep_quiet});
  const Value value = get(metadata);
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().code, ErrorCode::timed_out);
  EXPECT_THAT(value.error().message, HasSubstr("GET /latest/meta-data/instance-id: no complete answer within 1s"));
}

// A byte at a time, each well within the deadline, which is one for all of them.
TEST_F(MetadataTest, ASlowTrickleDoesNotPutTheDeadlineOff) {
  const auto began = std::chrono::steady_clock::now();
  for (const char* start : {"HTTP/1.1 200 OK\r\nX-Long: ", "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"}) {
    const Error error = error_with(MetadataStandIn::token_target, {start, Fault::Then::drip}, 100ms);
    EXPECT_EQ(error.code, ErrorCode::timed_out);
    EXPECT_THAT(error.message, AllOf(HasSubstr(about_token("no ")), HasSubstr("within 100ms")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);
}

TEST_F(MetadataTest, NobodyListens) {
  tcp::acceptor deaf(loop, tcp::v4());  // Bound, so that nobody else takes the port, but not listening.
  deaf.bind(tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  where = "http://127.0.0.1:" + std::to_string(deaf.local_endpoint().port());
  EXPECT_EQ(told(error_of(where)), told({ErrorCode::unreachable, about_token("no connection: Connection refused")}));
}

TEST_F(MetadataTest, NobodyAccepts) {
  tcp::acceptor full(loop, tcp::v4());
  full.bind(tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  full.listen(0);
  tcp::socket first(loop);  // The one that a backlog of 0 has room for (listen(2)); Linux ignores those after it.
  first.connect(full.local_endpoint());
  where = "http://127.0.0.1:" + std::to_string(full.local_endpoint().port());
  EXPECT_EQ(told(error_of(where, 50ms)), told({ErrorCode::timed_out, about_token("no connection within 50ms")}));
}

TEST_F(MetadataTest, ItComesBack) {
  MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  service.set_fault(MetadataStandIn::token_target, {answer("503 Service Unavailable")});
  EXPECT_FALSE(get(metadata));
  service.clear_faults();
  service.set_fault(MetadataStandIn::id_target, {answer("503 Service Unavailable")});
  EXPECT_FALSE(get(metadata));
  service.clear_faults();
  EXPECT_EQ(get(metadata), id);
  EXPECT_THAT(service.asked(), ElementsAre(token, token, id_path, id_path));
}

TEST_F(MetadataTest, TwoAtATime) {
  MetadataStandIn service(loop);
  service.set_value("/latest/user-data", "#!/bin/sh");
  Metadata metadata = client(service.endpoint());
  Value data;
  boost::asio::co_spawn(loop, metadata.user_data(), [&](std::exception_ptr, Value value) { data = std::move(value); });
  EXPECT_EQ(get(metadata), id);
  while (data != "#!/bin/sh" && loop.run_one() > 0) {
  }
  EXPECT_EQ(data, "#!/bin/sh");
}

TEST_F(MetadataTest, ACallOutlivesItsClient) {
  const MetadataStandIn service(loop);
  auto call = client(service.endpoint()).get("instance-id");
  EXPECT_EQ(dualdeploy::testing::run(loop, std::move(call)), id);
}

TEST_F(MetadataTest, APathIsNotTakenForMore) {
  const MetadataStandIn service(loop);
  Metadata metadata = client(service.endpoint());
  for (const char* path : {"", "/instance-id", "a b", "a\r\nHost: x", "a?b", "a#b", "a%2fb", "\xc3\xb6"}) {
    const Value value = get(metadata, path);
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().code, ErrorCode::usage);
    EXPECT_THAT(value.error().message, AllOf(HasSubstr(service.endpoint()), HasSubstr(std::string("'") + path + "'")));
  }
  EXPECT_THAT(service.asked(), ElementsAre());
}

TEST_F(MetadataTest, AnEndpointThatIsNone) {
  const Error error = error_of("https://169.254.169.254");
  EXPECT_EQ(error.code, ErrorCode::usage);
  EXPECT_THAT(error.message, AllOf(HasSubstr("'https://169.254.169.254'"), HasSubstr("expected http:// with")));
}

TEST(Backoff, DoublesFromFirstToMost) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    Backoff backoff(100ms, 1'000ms, seed);
    for (const Milliseconds step : {100ms, 200ms, 400ms, 800ms, 1'000ms, 1'000ms, 1'000ms}) {
      const Milliseconds wait = backoff.next();
      EXPECT_GE(wait, std::max(Milliseconds{100}, step / 2)) << seed;
      EXPECT_LE(wait, step) << seed;
    }
  }
}

TEST(Backoff, BeginsAnewAfterASuccess) {
  Backoff backoff(100ms, 10'000ms, 1U);
  for (int i = 0; i < 10; ++i) (void)backoff.next();
  EXPECT_GE(backoff.next(), 5'000ms);
  backoff.reset();
  EXPECT_EQ(backoff.next(), 100ms);
  EXPECT_LE(backoff.next(), 200ms);
}

TEST(Backoff, TheSeedDecides) {
  std::set<Milliseconds> waits;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    Backoff one(1'000ms, 60'000ms, seed);
    Backoff other(1'000ms, 60'000ms, seed);
    for (int i = 0; i < 7; ++i) EXPECT_EQ(one.next(), other.next());
    waits.insert(one.next());
  }
  EXPECT_GT(waits.size(), 1U);
}

TEST(Backoff, BoundsThatMakeNoSenseAreMadeToFit) {
  Backoff never_at_once(0ms, 0ms, 1U);
  Backoff upside_down(5'000ms, 1'000ms, 1U);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(never_at_once.next(), 1ms);
    EXPECT_EQ(upside_down.next(), 5'000ms);
  }
}

TEST(Backoff, DoesNotOverflow) {
  Backoff backoff(1ms, Milliseconds::max(), 1U);
  for (int i = 0; i < 100; ++i) EXPECT_GE(backoff.next(), 1ms);
  EXPECT_GE(backoff.next(), Milliseconds::max() / 2);
}

}  // namespace
}  // namespace dualdeploy::instance
