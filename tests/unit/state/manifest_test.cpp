#include "state/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace dualdeploy::state {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string service = R"("shop":{"package":"shop-1-1.x86_64","package_revision":"c0ffee","image":"shop:1",)"
                            R"("image_id":"sha256:1","image_revision":"c0ffee"})";
const std::string head = R"({"sealed_at":"2026-11-24T00:00:00.000Z","dualdeploy":{"version":"1.0","revision":"abc"},"services":)";

class ManifestTest : public ::testing::Test {
 protected:
  ManifestTest() {
    std::string pattern = fs::temp_directory_path() / "dualdeploy-manifest-XXXXXX";
    directory = ::mkdtemp(pattern.data());
  }
  ~ManifestTest() override { fs::remove_all(directory); }
  void put(const std::string& content) const { std::ofstream(directory / manifest_name) << content; }
  [[nodiscard]] std::string why_not(const std::string& content) const {
    put(content);
    const auto read = read_manifest(directory);
    return read ? "it can be read" : read.error().message;
  }

  const Manifest manifest{"2026-11-24T00:00:00.000Z", "1.0", "abc",
                          {{"shop", {"shop-1-1.x86_64", "c0ffee", "shop:1", "sha256:1", "c0ffee"}}}};
  fs::path directory;
};

TEST_F(ManifestTest, ThereIsNone) {
  const auto read = read_manifest(directory);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, std::nullopt);
  EXPECT_EQ(*read_manifest(directory / "not" / "there"), std::nullopt);
}

TEST_F(ManifestTest, IsReadAsItWasWritten) {
  ASSERT_TRUE(write_manifest(directory, manifest));
  EXPECT_EQ(*read_manifest(directory), manifest);
  Manifest later = manifest;
  later.services.clear();
  ASSERT_TRUE(write_manifest(directory, later));
  EXPECT_EQ(*read_manifest(directory), later);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), fs::directory_iterator()), 1) << "no temporary file is left";
}

TEST_F(ManifestTest, HasTheFormThatOthersRead) {
  ASSERT_TRUE(write_manifest(directory, manifest));
  std::ifstream stream(directory / manifest_name);
  std::string line;
  std::getline(stream, line);
  EXPECT_EQ(line, head + "{" + service + "}}");
}

TEST_F(ManifestTest, OfALaterVersionIsReadToo) {
  put(head + "{" + service + R"(},"more":1})");
  EXPECT_EQ(*read_manifest(directory), manifest);
}

TEST_F(ManifestTest, ThatCannotBeReadSaysWhy) {
  const std::string path = (directory / manifest_name).string();
  EXPECT_THAT(why_not(""), AllOf(HasSubstr(path), HasSubstr("it is not JSON")));
  EXPECT_THAT(why_not(head), HasSubstr("it is not JSON"));
  EXPECT_THAT(why_not("[]"), AllOf(HasSubstr(path), HasSubstr("it is not an object")));
  EXPECT_THAT(why_not("{}"), HasSubstr("'dualdeploy' is missing"));
  EXPECT_THAT(why_not(head + "[]}"), HasSubstr("'services' is not an object"));
  EXPECT_THAT(why_not(head + R"({"shop":1}})"), HasSubstr("'services.shop' is not an object"));
  EXPECT_THAT(why_not(head + R"({"shop":{}}})"), HasSubstr("'services.shop.package' is missing"));
  EXPECT_THAT(why_not(head + R"({"shop":{"package":1}}})"), HasSubstr("'services.shop.package' is not a text"));
}

TEST_F(ManifestTest, ThatIsNoFileIsAnError) {
  fs::create_directory(directory / manifest_name);
  EXPECT_THAT(read_manifest(directory).error().message, HasSubstr("Is a directory"));
  fs::remove(directory / manifest_name);
  fs::create_symlink(directory / "nowhere", directory / manifest_name);
  EXPECT_THAT(read_manifest(directory).error().message, HasSubstr("No such file"));
}

TEST_F(ManifestTest, ThatCannotBeWrittenIsAnError) {
  EXPECT_FALSE(write_manifest(directory / "not" / "there", manifest));
}

}  // namespace
}  // namespace dualdeploy::state
