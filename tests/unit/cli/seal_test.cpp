#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "cli/seal_checks.hpp"
#include "cli/seal_wipe.hpp"

namespace dualdeploy::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class SealTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dualdeploy-seal-XXXXXX";
    root = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(root); }
  void write(const std::string& file, const std::string& content = "x") const {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << content;
  }
  [[nodiscard]] WipeOptions options() const {
    return {.root = root, .state_directory = root / "var/lib/dualdeploy", .homes = {root / "root", root / "home/centos", root / "opt/eve"}};
  }
  [[nodiscard]] std::vector<std::string> found(const WipeOptions& what) const {
    std::vector<std::string> names;
    for (const Leftover& leftover : find_leftovers(what)) names.push_back((leftover.emptied ? "!" : "") + leftover.path.lexically_relative(root).string());
    return names;
  }

  fs::path root;
};

TEST_F(SealTest, NothingIsLeftOverOnABareMachine) {
  EXPECT_THAT(found(options()), IsEmpty());
  write("etc/machine-id", "");
  EXPECT_THAT(found(options()), IsEmpty());
}

TEST_F(SealTest, FindsWhatBelongsToOneMachine) {
  for (const char* file :
       {"var/lib/dualdeploy/history.jsonl", "var/lib/dualdeploy/services/shop.json", "var/lib/dualdeploy/image.json", "etc/machine-id",
        "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/sshd_config", "root/.bash_history", "root/.bashrc",
        "home/centos/.ssh/authorized_keys", "home/centos/.ssh/config", "var/lib/cloud/instances/i-1/obj.pkl", "var/lib/docker/engine-id",
        "var/lib/docker/image/x", "var/log/journal/0123/system.journal", "var/log/wtmp", "var/log/messages"}) {
    write(file);
  }
  EXPECT_THAT(found(options()),
              UnorderedElementsAre("var/lib/dualdeploy/history.jsonl", "var/lib/dualdeploy/services", "!etc/machine-id", "etc/ssh/ssh_host_rsa_key",
                                   "etc/ssh/ssh_host_rsa_key.pub", "root/.bash_history", "home/centos/.ssh/authorized_keys", "var/lib/cloud/instances",
                                   "var/lib/docker/engine-id", "var/log/journal/0123", "!var/log/wtmp"));
  WipeOptions keep = options();
  keep.keep_authorized_keys = true;
  EXPECT_THAT(found(keep), Not(Contains("home/centos/.ssh/authorized_keys")));

  for (const Leftover& leftover : find_leftovers(options())) EXPECT_EQ(wipe(leftover), "");
  EXPECT_THAT(found(options()), IsEmpty());
  EXPECT_TRUE(fs::exists(root / "etc/machine-id"));
  EXPECT_TRUE(fs::exists(root / "var/lib/dualdeploy/image.json"));
  EXPECT_TRUE(fs::exists(root / "etc/ssh/sshd_config"));
}

TEST_F(SealTest, LooksIntoTheHomesThatThereAre) {
  write("opt/eve/.ssh/authorized_keys2");
  write("opt/eve/.local/share/fish/fish_history");
  write("home/nobodys/.ssh/authorized_keys");
  EXPECT_THAT(found(options()), UnorderedElementsAre("opt/eve/.ssh/authorized_keys2", "opt/eve/.local/share/fish/fish_history"));
  EXPECT_THAT(home_directories(), Contains(fs::path("/root")));
}

TEST_F(SealTest, FollowsNoLinkOutOfAHome) {
  write("etc/precious/authorized_keys");
  write("etc/precious/.bash_history");
  fs::create_directories(root / "opt/eve");
  fs::create_directory_symlink(root / "etc/precious", root / "opt/eve/.ssh");
  fs::create_symlink(root / "etc/precious/.bash_history", root / "opt/eve/.bash_history");
  // Who may log in would still: that is no secret.
  EXPECT_THAT(out_of_reach(options()), ElementsAre(HasSubstr("opt/eve/.ssh/authorized_keys would stay in the image")));
  for (const Leftover& leftover : find_leftovers(options())) EXPECT_EQ(wipe(leftover), "");
  EXPECT_TRUE(fs::exists(root / "etc/precious/authorized_keys"));
  EXPECT_TRUE(fs::exists(root / "etc/precious/.bash_history"));
  EXPECT_FALSE(fs::exists(fs::symlink_status(root / "opt/eve/.bash_history")));  // The link itself is hers, and gone.
  fs::remove(root / "etc/precious/authorized_keys");
  EXPECT_THAT(out_of_reach(options()), IsEmpty());
}

TEST_F(SealTest, WhatIsWipedHoldsLinksThatLeadOutOfIt) {
  write("srv/data/kept");
  write("var/lib/dualdeploy/services/shop.json");
  write("var/lib/dualdeploy/image.json");
  fs::create_directory_symlink(root / "srv/data", root / "var/lib/dualdeploy/services/link");
  fs::create_directories(root / "var/lib/cloud");
  fs::create_directory_symlink(root / "srv/data", root / "var/lib/cloud/instance");
  for (const Leftover& leftover : find_leftovers(options())) EXPECT_EQ(wipe(leftover), "");
  EXPECT_TRUE(fs::exists(root / "srv/data/kept"));
  EXPECT_THAT(found(options()), IsEmpty());
  EXPECT_TRUE(fs::exists(root / "var/lib/dualdeploy/image.json"));
}

TEST_F(SealTest, LeasesOfClientsAndLogsOfBootsGo) {
  for (const char* file : {"var/lib/dhcp/dhclient.eth0.leases", "var/lib/dhcp/dhcpd.leases", "var/lib/NetworkManager/internal-1-eth0.lease",
                           "var/lib/NetworkManager/secret_key", "var/log/wtmp-20261101", "var/log/btmp.1", "var/log/wtmpx", "var/log/btmp"}) {
    write(file);
  }
  EXPECT_THAT(found(options()), UnorderedElementsAre("var/lib/dhcp/dhclient.eth0.leases", "var/lib/NetworkManager/internal-1-eth0.lease",
                                                     "var/log/wtmp-20261101", "var/log/btmp.1", "!var/log/btmp"));
}

TEST_F(SealTest, WhatCannotBeLookedIntoOrWipedIsSaid) {
  write("etc/ssh");  // A file where a directory should be.
  const auto leftovers = find_leftovers(options());
  ASSERT_EQ(leftovers.size(), 1U);
  EXPECT_THAT(wipe(leftovers.front()), HasSubstr("etc/ssh: Not a directory"));
  EXPECT_TRUE(fs::exists(root / "etc/ssh"));
  EXPECT_THAT(wipe({.path = "/proc/self/stat"}), HasSubstr("/proc/self/stat: "));
}

TEST_F(SealTest, SavedRulesAreFoundWithFileAndLine) {
  EXPECT_THAT(check_saved_rules(root), IsEmpty());
  write("etc/sysconfig/iptables", "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -j dualdeploy-pre\nCOMMIT\n");
  write("etc/nftables.conf", "flush ruleset\n");
  write("etc/nftables/local.nft", "table inet dualdeploy {\n}\ntable inet dualdeploy-keep {\n}\n");
  EXPECT_THAT(check_saved_rules(root), ElementsAre(HasSubstr("etc/sysconfig/iptables:3: rules of ours were saved here"),
                                                   HasSubstr("etc/nftables/local.nft:1: ")));
}

TEST_F(SealTest, DifferencesAreNamedOneByOne) {
  const state::Manifest sealed{"2026-11-24T00:00:00Z", "1.0", "abc", {{"shop", {"shop-1-1", "c0ffee", "shop:1", "sha256:1", "c0ffee"}}, {"old", {}}}};
  EXPECT_THAT(differences(sealed, sealed), IsEmpty());
  state::Manifest now = sealed;
  now.services["shop"].image_id = "sha256:2";
  now.services["shop"].package = "";
  now.services.erase("old");
  now.services["new"] = {};
  now.version = "1.1";
  EXPECT_THAT(differences(sealed, now),
              ElementsAre("dualdeploy was 1.0 (abc), is 1.1 (abc)", "old: was there, is not configured any more", "shop: package was shop-1-1, is none",
                          "shop: image id was sha256:1, is sha256:2", "new: was not there when the image was sealed"));
}

}  // namespace
}  // namespace dualdeploy::cli
