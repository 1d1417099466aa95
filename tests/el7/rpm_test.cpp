// What the RPMs for CentOS 7 are made of: nothing that is not there.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "instance/support/shell.hpp"

namespace dualdeploy::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::Not;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> found;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) found.push_back(line);
  return found;
}

class El7 : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/dualdeploy-el7-XXXXXX";
    work = ::mkdtemp(name);
    for (const auto& entry : fs::directory_iterator(DD_SOURCE_DIR "/build/rpm-el7")) {
      if (!entry.path().filename().string().ends_with(".x86_64.rpm")) continue;
      rpms.push_back(entry.path());
      const std::string into = work + "/" + entry.path().stem().string();
      fs::create_directory(into);
      do_shell("cd " + into + " && rpm2cpio " + entry.path().string() + " | cpio -id --quiet");
    }
  }
  static void TearDownTestSuite() { fs::remove_all(work); }
  void SetUp() override { ASSERT_EQ(rpms.size(), 2U) << "packaging/rpm el7 --out build/rpm-el7"; }

  static std::vector<std::string> programs() {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(work)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      char magic[4] = {};
      file.read(magic, sizeof magic);
      if (std::string_view(magic, sizeof magic) == "\x7f" "ELF") found.push_back(entry.path());
    }
    return found;
  }

  static inline std::string work;
  static inline std::vector<std::string> rpms;
};

TEST_F(El7, ProgramsNeedNothingNewerThanCentOs7) {
  ASSERT_EQ(programs().size(), 4U);  // The agent, its command, and the sample twice.
  for (const std::string& program : programs()) {
    const std::string symbols = shell("objdump -T " + program).output;
    const std::regex version("GLIBC_2\\.([0-9]+)");
    for (auto match = std::sregex_iterator(symbols.begin(), symbols.end(), version); match != std::sregex_iterator(); ++match) {
      EXPECT_LE(std::stoi((*match)[1]), 17) << program << " needs " << match->str();
    }
    for (const char* newer : {"GLIBCXX", "CXXABI", "GLIBC_ABI_DT_RELR", "GLIBC_3"}) EXPECT_THAT(symbols, Not(HasSubstr(newer))) << program;
    const std::string needed = do_shell("objdump -p " + program + " | sed -n 's/ *NEEDED *//p'");
    EXPECT_THAT(lines(needed), IsSubsetOf({"libsystemd.so.0", "libpthread.so.0", "libc.so.6", "libdl.so.2", "libm.so.6", "librt.so.1",
                                           "ld-linux-x86-64.so.2"}))
        << program;
  }
}

TEST_F(El7, OfLibsystemdOnlyWhat219Has) {
  std::ifstream map(DD_SOURCE_DIR "/packaging/el7/libsystemd-219.map");
  std::stringstream has;
  has << map.rdbuf();
  std::size_t seen = 0;
  for (const std::string& program : programs()) {
    for (const std::string& line : lines(shell("objdump -T " + program).output)) {
      const std::size_t at = line.find(" sd_");
      if (at == std::string::npos) continue;
      ++seen;
      EXPECT_THAT(has.str(), HasSubstr("    " + line.substr(at + 1) + ";")) << program;
    }
  }
  EXPECT_GT(seen, 0U);
}

TEST_F(El7, PayloadIsReadByRpm411) {
  for (const std::string& rpm : rpms) {
    EXPECT_THAT(do_shell("rpm -qp --qf '%{PAYLOADCOMPRESSOR}' " + rpm), AnyOf("gzip", "xz"));
    // Of rpm's own features only those of 4.11.
    for (const std::string& feature : lines(do_shell("rpm -qp --requires " + rpm + " | grep rpmlib"))) {
      EXPECT_THAT(feature, AnyOf(HasSubstr("CompressedFileNames"), HasSubstr("FileDigests"), HasSubstr("PayloadFilesHavePrefix"),
                                 HasSubstr("PayloadIsXz")))
          << rpm;
    }
  }
}

TEST_F(El7, RequiresOnlyWhatCentOs7Provides) {
  const std::string rpm = "rpm --force-debian --dbpath " + work + "/db ";  // Debian's rpm asks for that word.
  do_shell("rpm --dbpath " + work + "/db --initdb");
  const std::string both = rpm + "-i --test " + rpms[0] + " " + rpms[1];
  // Without the fixture something is missing: dependencies are looked at.
  EXPECT_THAT(shell(both).output, HasSubstr("Failed dependencies"));
  do_shell(rpm + "-i --justdb " DD_SOURCE_DIR "/build/rpm-el7/centos7-provides-*.noarch.rpm");
  do_shell(both);
}

TEST_F(El7, RpmlintHasNothingToSay) {
  const Outcome outcome = shell("rpmlint -c " DD_SOURCE_DIR "/packaging/rpmlint.toml " + rpms[0] + " " + rpms[1]);
  EXPECT_THAT(outcome.output, HasSubstr("0 errors, 0 warnings"));
}

TEST_F(El7, SystemdSeesNothingThat219WouldWarnOf) {
  for (const auto& entry : fs::recursive_directory_iterator(work)) EXPECT_NE(entry.path().filename(), "50-hardening.conf");
}

}  // namespace
}  // namespace dualdeploy::testing
