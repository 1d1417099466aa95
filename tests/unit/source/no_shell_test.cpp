// Nothing that a user or the configuration says is ever read by a shell: the programs have no way to start one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Ways to a shell in C and C++: the library's own, and a shell or an interpreter's -c as a program to run.
std::vector<std::string> ways_to_a_shell(const std::string& line) {
  static const std::regex ways(
      R"re((\b(system|popen|wordexp|execlp?e?|execvp|g_spawn\w*)\s*\()|("(/usr)?(/bin/)?(ba|da|k|z)?sh")|("-c"))re");
  std::vector<std::string> found;
  const std::string code = line.substr(0, line.find("//"));
  for (std::sregex_iterator at(code.begin(), code.end(), ways), end; at != end; ++at) found.push_back(at->str());
  return found;
}

TEST(NoShell, InNoSourceFile) {
  std::size_t seen = 0;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(DD_SOURCE_DIR) + "/agent")) {
    const std::string extension = entry.path().extension();
    if (extension != ".cpp" && extension != ".hpp") continue;
    ++seen;
    std::ifstream file(entry.path());
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      for (const std::string& way : ways_to_a_shell(line)) {
        found.push_back(entry.path().filename().string() + ":" + std::to_string(number) + ": " + way);
      }
    }
  }
  EXPECT_GT(seen, 100U);
  EXPECT_THAT(found, IsEmpty());
}

/// A unit may run a shell on a text that is all its own: without a specifier or a variable in it (systemd.unit(5)).
TEST(NoShell, InUnitsOnlyOnConstantText) {
  const std::regex shell(R"(^Exec\w+=.*sh -c .*)");
  std::size_t shells = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(std::string(DD_SOURCE_DIR) + "/units")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      if (!std::regex_match(line, shell)) continue;
      ++shells;
      EXPECT_EQ(line.find_first_of("%$`"), std::string::npos) << entry.path() << ": " << line;
    }
  }
  EXPECT_EQ(shells, 1U);  // dualdeploy-failsafe.service.
}

TEST(NoShell, WouldBeFound) {
  EXPECT_THAT(ways_to_a_shell("std::system(text.c_str());"), SizeIs(1));
  EXPECT_THAT(ways_to_a_shell("FILE* pipe = ::popen(text, \"r\");"), SizeIs(1));
  EXPECT_THAT(ways_to_a_shell("command.argv = {\"/bin/sh\", \"-c\", text};"), SizeIs(2));
  EXPECT_THAT(ways_to_a_shell("command.argv = {\"bash\"};"), SizeIs(1));
  EXPECT_THAT(ways_to_a_shell("co_await bus_system(x); error.category().system_category();  // not system(3)"), IsEmpty());
}

}  // namespace
