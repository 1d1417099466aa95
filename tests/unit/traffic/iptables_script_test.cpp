#include "traffic/iptables_script.hpp"

#include <gtest/gtest.h>

namespace dualdeploy::traffic {
namespace {

TEST(IptablesScript, OnlyTheTablesThatWereAskedForAreRead) {
  // No table of the kernel's has such a name; a listing that is not understood must not become a script.
  const std::string lines = "\n:dualdeploy-pre - [0:0]\n-A INPUT -j dualdeploy-pre\nCOMMIT\n";
  const Saved saved = parse_save("*natural" + lines + "*nat x" + lines + "*mangle" + lines + lines +
                                 "*nat\n:dualdeploy-out - [0:0]\n-A OUTPUT -j dualdeploy-out\nCOMMIT\n");
  EXPECT_EQ(render_removal(saved), "*nat\n:dualdeploy-out - [0:0]\n-D OUTPUT -j dualdeploy-out\n-X dualdeploy-out\nCOMMIT\n");
}

TEST(IptablesScript, HeldPortsAndTheTimeTheyHaveLeftAreRead) {
  const std::string window = " -m time --datestart 2026-11-26T12:00:00 --datestop 2026-11-26T12:00:40 -j DROP\n";
  const Saved saved = parse_save(
      "*filter\n:dualdeploy-k-shop - [0:0]\n:dualdeploy-in - [0:0]\n"
      "-A dualdeploy-k-shop -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN --dport 80" + window +
      "-A dualdeploy-k-shop -p udp -m conntrack --ctstate NEW -m udp --dport 53" + window +
      "-A dualdeploy-k-shop -p tcp -m tcp --dport 81 -m time --datestart 2026-11-26T12:00:00 --datestop yesterday -j DROP\n"
      "-A dualdeploy-in -p tcp -m tcp --dport 82" + window + "COMMIT\n");
  constexpr std::int64_t noon_ms = 1'795'694'400'000;
  EXPECT_EQ(held_in(saved, Moment{{}, noon_ms + 500}),
            (HeldPorts{{{config::Protocol::tcp, 80}, Milliseconds{40'500}}, {{config::Protocol::udp, 53}, Milliseconds{40'500}}}));
  EXPECT_EQ(held_in(saved, Moment{{}, noon_ms + 41'000}), HeldPorts{});
  EXPECT_EQ(held_in(saved, Moment{{}, noon_ms - 1'000}), HeldPorts{});
}

/// A hold goes by the clock, too.
TEST(IptablesScript, ARenewalTellsHoldsTheirEndAnew) {
  constexpr std::int64_t noon_ms = 1'795'694'400'000;
  Rules rules;
  ServiceRules& shop = rules.services["shop"];
  shop.name = "shop";
  shop.ports = {config::Port{.front = 80, .rpm = 80, .container = 8080}};
  EXPECT_EQ(render_renewal(rules, Family::v4, Moment{{}, noon_ms}), "");
  shop.held_until = Instant{} + std::chrono::seconds(10);
  const std::string script = render_renewal(rules, Family::v4, Moment{Instant{}, noon_ms});
  EXPECT_NE(script.find(":dualdeploy-k-shop - [0:0]\n"), std::string::npos) << script;
  EXPECT_NE(script.find("--dport 80 -m time --datestart 2026-11-26T11:59:58 --datestop 2026-11-26T12:00:09 -j DROP\n"), std::string::npos) << script;
}

}  // namespace
}  // namespace dualdeploy::traffic
