#include "core/endpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dualdeploy {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(EndpointTest, AddressAndPort) {
  EXPECT_EQ(parse_endpoint("http://169.254.169.254"), (Endpoint{"169.254.169.254", 80}));
  EXPECT_EQ(parse_endpoint("http://127.0.0.1:65535"), (Endpoint{"127.0.0.1", 65'535}));
  EXPECT_EQ(parse_endpoint("http://[fd00:ec2::254]"), (Endpoint{"fd00:ec2::254", 80}));
  EXPECT_EQ(parse_endpoint("http://[::1]:8080"), (Endpoint{"::1", 8'080}));
}

TEST(EndpointTest, Authority) {
  EXPECT_EQ((Endpoint{"169.254.169.254", 80}).authority(), "169.254.169.254");
  EXPECT_EQ((Endpoint{"127.0.0.1", 8'080}).authority(), "127.0.0.1:8080");
  EXPECT_EQ((Endpoint{"fd00:ec2::254", 80}).authority(), "[fd00:ec2::254]");
  EXPECT_EQ((Endpoint{"::1", 8'080}).authority(), "[::1]:8080");
}

TEST(EndpointTest, AnythingElseIsNone) {
  for (const char* text :
       {"", "http://", "169.254.169.254", "https://169.254.169.254", "HTTP://169.254.169.254",
        "http://169.254.169.254/", "http://169.254.169.254/latest", "http://localhost",
        "http://instance-data.ec2.internal", "http://169.254.169", "http://169.254.169.254:", "http://169.254.169.254:0",
        "http://169.254.169.254:65536", "http://169.254.169.254:-1", "http://169.254.169.254:+1",
        "http://169.254.169.254:80x", "http://169.254.169.254: 80", "http://:80", "http://::1",
        "http://[::1", "http://[]", "http://[]:80", "http://[127.0.0.1]", "http://[::1]80", "http://[::1]]",
        "http://[fe80::1%lo]", "http://user@127.0.0.1", " http://127.0.0.1", "http://127.0.0.1\n"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_EQ(endpoint.error().code, ErrorCode::usage);
    EXPECT_THAT(endpoint.error().message,
                AllOf(HasSubstr(std::string("'") + text + "'"), HasSubstr("such as http://169.254.169.254")));
  }
}

TEST(EndpointTest, WithoutADefaultThePortHasToBeThere) {
  EXPECT_EQ(endpoint_in("127.0.0.1:9180"), (Endpoint{"127.0.0.1", 9'180}));
  EXPECT_EQ(endpoint_in("[::]:0"), (Endpoint{"::", 0}));
  EXPECT_EQ(endpoint_in("127.0.0.1"), std::nullopt);
  EXPECT_EQ(endpoint_in("127.0.0.1", 80), (Endpoint{"127.0.0.1", 80}));
  EXPECT_EQ(endpoint_in("::1:80"), std::nullopt);
}

}  // namespace
}  // namespace dualdeploy
