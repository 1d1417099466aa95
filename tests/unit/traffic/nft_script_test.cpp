#include "traffic/nft_script.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dualdeploy::traffic {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

const Instant now{1'000'000ms};

ServiceRules shop(Route planned, bool active) {
  return ServiceRules{.name = "shop", .ports = {config::Port{.front = 80, .rpm = 80, .container = 8080},
                                                config::Port{.front = 443, .rpm = 443, .container = 8443}},
                      .planned = planned, .active = active};
}
Rules with(const ServiceRules& service) {
  Rules rules;
  rules.services[service.name] = service;
  return rules;
}

TEST(NftScript, AtTheRpmThereIsNoRedirect) {
  const std::string script = render_table(with(shop(Route{}, false)), now);
  EXPECT_THAT(script, Not(HasSubstr("dnat to")));
  EXPECT_THAT(script, HasSubstr("guarded { tcp . 8080 }"));
}

TEST(NftScript, FlipIsChainAndElementsInOneScript) {
  EXPECT_EQ(render_change(shop(Route{}, false), shop(Route{100}, true), Milliseconds{60'000}, now),
            "add chain inet dualdeploy container-shop\n"
            "flush chain inet dualdeploy container-shop\n"
            "add chain inet dualdeploy service-shop\n"
            "flush chain inet dualdeploy service-shop\n"
            "add rule inet dualdeploy container-shop tcp dport 80 dnat to :8080 comment \"route=container\"\n"
            "add rule inet dualdeploy container-shop tcp dport 443 dnat to :8443 comment \"route=container\"\n"
            "add rule inet dualdeploy service-shop goto container-shop\n"
            "add element inet dualdeploy redirects { tcp . 80 : goto service-shop }\n"
            "delete element inet dualdeploy redirects { tcp . 80 }\n"
            "add element inet dualdeploy redirects { tcp . 443 : goto service-shop }\n"
            "delete element inet dualdeploy redirects { tcp . 443 }\n"
            "add element inet dualdeploy redirects_local { tcp . 80 : goto service-shop }\n"
            "delete element inet dualdeploy redirects_local { tcp . 80 }\n"
            "add element inet dualdeploy redirects_local { tcp . 443 : goto service-shop }\n"
            "delete element inet dualdeploy redirects_local { tcp . 443 }\n"
            "add element inet dualdeploy redirects { tcp . 80 timeout 60000ms : goto service-shop }\n"
            "add element inet dualdeploy redirects { tcp . 443 timeout 60000ms : goto service-shop }\n"
            "add element inet dualdeploy redirects_local { tcp . 80 timeout 60000ms : goto service-shop }\n"
            "add element inet dualdeploy redirects_local { tcp . 443 timeout 60000ms : goto service-shop }\n");
}

TEST(NftScript, PlannedButNotActiveHasAChainAndNoElement) {
  const std::string script = render_table(with(shop(Route{100}, false)), now);
  EXPECT_THAT(script, HasSubstr("container-shop tcp dport 80 dnat to :8080"));
  EXPECT_THAT(script, Not(HasSubstr("add element inet dualdeploy redirects")));
}

TEST(NftScript, LocalTrafficCanBeLeftAlone) {
  ServiceRules service = shop(Route{100}, true);
  service.local_traffic = false;
  EXPECT_THAT(render_table(with(service), now), Not(HasSubstr("add element inet dualdeploy redirects_local")));
}

TEST(NftScript, AShareIsDrawnAndTestersComeFirst) {
  const auto testers = std::vector{*Network::parse("10.0.0.0/8"), *Network::parse("2001:db8::/32")};
  const std::string drawn = render_table(with(shop(Route::of(25, false, testers), true)), now);
  const std::string tester = "service-shop ip saddr 10.0.0.0/8 goto container-shop comment \"tester=10.0.0.0/8\"\n";
  EXPECT_THAT(drawn, HasSubstr(tester));
  EXPECT_THAT(drawn, HasSubstr("service-shop ip6 saddr 2001:db8::/32 goto container-shop comment \"tester=2001:db8::/32\"\n"));
  EXPECT_THAT(drawn, HasSubstr("service-shop numgen random mod 100 < 25 goto container-shop\n"));
  EXPECT_THAT(drawn, HasSubstr("comment \"route=container 25%\""));
  EXPECT_LT(drawn.find(tester), drawn.find("numgen"));
  const std::string sticky = render_table(with(shop(Route::of(25, true), true)), now);
  EXPECT_THAT(sticky, HasSubstr("service-shop jhash ip saddr mod 100 seed 0x6475616c < 25 goto container-shop\n"));
  EXPECT_THAT(sticky, HasSubstr("service-shop jhash ip6 saddr mod 100 seed 0x6475616c < 25 goto container-shop\n"));
  const std::string alone = render_table(with(shop(Route::of(0, false, testers), true)), now);
  EXPECT_THAT(alone, HasSubstr(tester));
  EXPECT_THAT(alone, Not(HasSubstr("numgen")));
}

TEST(NftScript, WhoeverIsNotForTheContainerGoesHome) {
  ServiceRules service = shop(Route::of(25), true);
  service.ports[0].rpm = 8000;
  const std::string script = render_table(with(service), now);
  EXPECT_LT(script.find("numgen random"), script.find("service-shop goto home-shop\n"));
}

TEST(NftScript, ALeaseEndsAtTheDeadline) {
  ServiceRules service = shop(Route{100}, true);
  service.until = now + 7s;
  EXPECT_THAT(render_renewal(with(service), now), HasSubstr("timeout 7000ms"));
  EXPECT_THAT(render_renewal(with(service), now + 7s), Not(HasSubstr("timeout")));
  service.until = now + 10min;
  EXPECT_THAT(render_renewal(with(service), now), HasSubstr("timeout 60000ms"));
}

TEST(NftScript, NothingToRenew) { EXPECT_EQ(render_renewal(with(shop(Route{}, false)), now), ""); }

TEST(NftScript, GarbageIsNoListing) {
  for (const char* text : {"", "{", "[]", "{}", "{\"nftables\":3}"}) EXPECT_FALSE(parse_listing(text)) << text;
  EXPECT_TRUE(parse_listing(R"({"nftables":[1,{"rule":2},{"map":{"name":"redirects","elem":[1,[2],[3,{"goto":4}]]}}]})"));
}

TEST(NftScript, HeldPortsAndTheTimeTheyHaveLeftAreRead) {
  const auto observed = parse_listing(
      R"({"nftables":[{"set":{"name":"held","elem":[{"elem":{"val":{"concat":["tcp",80]},"timeout":50,"expires":41}},)"
      R"({"elem":{"val":{"concat":[17,53]},"expires":3}},{"elem":{"val":{"concat":["sctp",54]},"expires":3}},{"elem":{"val":{"concat":["tcp",70000]},"expires":3}},)"
      R"({"elem":{"val":{"concat":["tcp",81]}}},{"elem":3},7,{"elem":{"val":{"concat":[1,2]},"expires":1}}]}},)"
      R"({"set":{"name":"guarded","elem":[{"elem":{"val":{"concat":["tcp",82]},"expires":9}}]}}]})");
  ASSERT_TRUE(observed);
  EXPECT_EQ(observed->held, (HeldPorts{{{config::Protocol::tcp, 80}, 41s}, {{config::Protocol::udp, 53}, 3s}}));
}

}  // namespace
}  // namespace dualdeploy::traffic
