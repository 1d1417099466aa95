#include "instance/identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "host/boot.hpp"

namespace dualdeploy::instance {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class IdentityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dualdeploy-identity-XXXXXX";
    directory = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(directory); }
  void write(const std::string& file, const std::string& content) const { std::ofstream(directory / file) << content; }

  fs::path directory;
};

TEST(InitialRoutes, AreSidesAndShares) {
  const auto routes = parse_initial_routes(" shop=container, blog=25 ,mail=5%,*=rpm ");
  ASSERT_TRUE(routes);
  EXPECT_EQ(*routes, (InitialRoutes{{"shop", Route::of(100)}, {"blog", Route::of(25)}, {"mail", Route::of(5)}, {"*", Route{}}}));
  EXPECT_TRUE(parse_initial_routes("")->empty());
}

TEST(InitialRoutes, WhatIsNotUnderstoodIsNamed) {
  for (const std::string bad : {"shop", "shop=", "shop=both", "shop=101", "shop=-1", "=rpm", "shop=rpm,,blog=x", "shop=1e2"}) {
    const auto routes = parse_initial_routes(bad);
    ASSERT_FALSE(routes) << bad;
    EXPECT_THAT(routes.error().message, HasSubstr("expected SERVICE=rpm")) << bad;
  }
}

TEST(InitialRoutes, StandInALineOfTheUserData) {
  EXPECT_EQ(line_in_user_data("#cloud-config\n#dualdeploy shop=container\r\nruncmd: []\n"), "shop=container");
  EXPECT_EQ(line_in_user_data("#!/bin/sh\n #dualdeploy shop=container\n"), std::nullopt);
  EXPECT_EQ(line_in_user_data(""), std::nullopt);
  EXPECT_EQ(line_in_user_data("#dualdeploy shop=5"), "shop=5");
}

TEST_F(IdentityTest, TheFirmwareSaysEc2) {
  const config::Metadata automatic;
  EXPECT_FALSE(on_ec2(automatic, directory));
  write("sys_vendor", "Amazon EC2\n");
  EXPECT_TRUE(on_ec2(automatic, directory));
  write("sys_vendor", "Xen\n");
  EXPECT_FALSE(on_ec2(automatic, directory));
  write("bios_version", "4.11.amazon\n");
  EXPECT_TRUE(on_ec2(automatic, directory));
  EXPECT_FALSE(on_ec2({.use = config::Metadata::Use::off}, directory));
  EXPECT_TRUE(on_ec2({.use = config::Metadata::Use::on}, directory / "none"));
}

TEST_F(IdentityTest, IsRememberedWithItsBoot) {
  EXPECT_FALSE(remembered(directory));
  ASSERT_TRUE(remember(directory, "i-0123456789abcdef0", "shop=5"));
  EXPECT_FALSE(remember(directory, "<html>", ""));
  const auto found = remembered(directory);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->instance_id, "i-0123456789abcdef0");
  EXPECT_EQ(found->boot_id, host::boot_id());
  EXPECT_EQ(found->routes, "shop=5");
}

TEST_F(IdentityTest, ADamagedMemoryIsNone) {
  for (const std::string bad : {"", "{", "[]", "{\"instance_id\": 5}", "{\"instance_id\": \"../x\"}"}) {
    write("instance.json", bad);
    EXPECT_FALSE(remembered(directory)) << bad;
  }
}

}  // namespace
}  // namespace dualdeploy::instance
