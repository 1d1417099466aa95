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

}  // namespace
}  // namespace dualdeploy::traffic
