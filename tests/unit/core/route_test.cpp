#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/types.hpp"

namespace dualdeploy {
namespace {

Network network(std::string_view text) { return Network::parse(text).value(); }

TEST(Network, IsReadAndWritten) {
  for (const std::string text : {"10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "128.0.0.0/1"}) {
    EXPECT_EQ(network(text).text(), text);
  }
  EXPECT_EQ(network("192.0.2.7/32").text(), "192.0.2.7");
  EXPECT_EQ(network("2001:DB8:0::0/48").text(), "2001:db8::/48");
}

TEST(Network, MistakesAreNamed) {
  for (const std::string text : {"", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/-1", "2001:db8::/129", "example.org",
                                 "10.0.0.0/8 ", "::/x"}) {
    const auto read = Network::parse(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, ::testing::HasSubstr("is no network; expected such as")) << text;
  }
  EXPECT_THAT(Network::parse("10.1.2.3/8").error().message, ::testing::HasSubstr("the network is 10.0.0.0/8"));
  EXPECT_THAT(Network::parse("2001:db8::1/32").error().message, ::testing::HasSubstr("the network is 2001:db8::/32"));
  EXPECT_THAT(Network::parse("0.0.0.0/0").error().message, ::testing::HasSubstr("everybody"));
}

TEST(Network, ContainsWhatIsInside) {
  EXPECT_TRUE(network("10.0.0.0/8").contains(network("10.1.0.0/16")));
  EXPECT_TRUE(network("10.0.0.0/8").contains(network("10.0.0.0/8")));
  EXPECT_FALSE(network("10.1.0.0/16").contains(network("10.0.0.0/8")));
  EXPECT_FALSE(network("10.0.0.0/8").contains(network("a00::/8")));  // The same first byte, another family.
}

TEST(Route, IsDescribedAndReadBack) {
  const std::vector<Network> testers{network("10.0.0.0/8"), network("2001:db8::/32")};
  for (const Route& route : {Route{}, Route::of(100), Route::of(25), Route::of(25, true), Route::of(0, false, testers),
                             Route::of(1, true, testers), Route::of(99, false, testers)}) {
    EXPECT_EQ(route_described(describe(route)), route) << describe(route);
  }
  EXPECT_EQ(describe(Route::of(5, true, testers)), "container 5% sticky, testers 10.0.0.0/8 2001:db8::/32");
  for (const char* text : {"", "moon", "container 5", "container 101%", "container x%", "rpm, testers moon", "container -1%"}) {
    EXPECT_FALSE(route_described(text)) << text;
  }
}

TEST(Route, TestersAreInOrderAndNoneInsideAnother) {
  const Route route = Route::of(0, false, {network("10.1.0.0/16"), network("192.0.2.7"), network("10.0.0.0/8"), network("10.0.0.0/8")});
  EXPECT_THAT(route.testers, ::testing::ElementsAre(network("10.0.0.0/8"), network("192.0.2.7")));
  EXPECT_EQ(Route::of(100, true, {network("10.0.0.0/8")}), Route::to(Side::container));
  EXPECT_TRUE(Route::of(0, true).all_rpm());
  EXPECT_FALSE(route.all_rpm());
  EXPECT_TRUE(route.uses(Side::rpm));
  EXPECT_TRUE(route.uses(Side::container));
}

}  // namespace
}  // namespace dualdeploy
