#include "traffic/nft_script.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dualdeploy::traffic {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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
  const std::string script = render_table(with(shop(Route{}, false)));
  EXPECT_THAT(script, Not(HasSubstr("dnat to")));
  EXPECT_THAT(script, HasSubstr("guarded { tcp . 8080 }"));
}

TEST(NftScript, FlipIsChainAndElementsInOneScript) {
  EXPECT_EQ(render_change(shop(Route{}, false), shop(Route{100}, true), Milliseconds{60'000}),
            "add chain inet dualdeploy service-shop\n"
            "flush chain inet dualdeploy service-shop\n"
            "add rule inet dualdeploy service-shop tcp dport 80 dnat to :8080 comment \"route=container\"\n"
            "add rule inet dualdeploy service-shop tcp dport 443 dnat to :8443 comment \"route=container\"\n"
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
  const std::string script = render_table(with(shop(Route{100}, false)));
  EXPECT_THAT(script, HasSubstr("service-shop tcp dport 80 dnat to :8080"));
  EXPECT_THAT(script, Not(HasSubstr("add element inet dualdeploy redirects")));
}

TEST(NftScript, LocalTrafficCanBeLeftAlone) {
  ServiceRules service = shop(Route{100}, true);
  service.local_traffic = false;
  EXPECT_THAT(render_table(with(service)), Not(HasSubstr("add element inet dualdeploy redirects_local")));
}

TEST(NftScript, NothingToRenew) { EXPECT_EQ(render_renewal(with(shop(Route{}, false))), ""); }

TEST(NftScript, GarbageIsNoListing) {
  for (const char* text : {"", "{", "[]", "{}", "{\"nftables\":3}"}) EXPECT_FALSE(parse_listing(text)) << text;
  EXPECT_TRUE(parse_listing(R"({"nftables":[1,{"rule":2},{"map":{"name":"redirects","elem":[1,[2],[3,{"goto":4}]]}}]})"));
}

}  // namespace
}  // namespace dualdeploy::traffic
