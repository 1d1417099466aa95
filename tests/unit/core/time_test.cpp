#include "core/time.hpp"

#include <gtest/gtest.h>

namespace dualdeploy {
namespace {

using std::chrono::milliseconds;

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("30s"), milliseconds(30'000));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300'000));
  EXPECT_EQ(parse_duration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(parse_duration("1d"), milliseconds(86'400'000));
}

TEST(ParseDuration, AllowsZeroAndLeadingZeros) {
  EXPECT_EQ(parse_duration("0s"), milliseconds(0));
  EXPECT_EQ(parse_duration("007s"), milliseconds(7'000));
}

TEST(ParseDuration, RefusesEverythingElse) {
  for (const char* text :
       {"", "5", "s", "ms", "-1s", "+1s", "1.5s", " 1s", "1s ", "1 s", "1S", "1us", "1w", "1s1s", "0x1s"}) {
    const auto parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::usage) << text;
    EXPECT_EQ(
        parsed.error().message,
        "'" + std::string(text) +
            "' is not a duration; expected a whole number and a unit, such as 500ms, 30s, 5m, 2h or 1d");
  }
}

TEST(ParseDuration, RefusesWhatDoesNotFit) {
  EXPECT_EQ(parse_duration("9223372036854775807ms"), milliseconds(9'223'372'036'854'775'807));
  for (const char* text :
       {"9223372036854775808ms", "9223372036854775807s", "106751991168d", "99999999999999999999999ms"}) {
    const auto parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, "'" + std::string(text) + "' is too long a duration");
  }
  EXPECT_FALSE(parse_duration("99999999999999999999999"));
}

TEST(FormatDuration, TakesTheLongestUnitThatDivides) {
  EXPECT_EQ(format_duration(milliseconds(0)), "0s");
  EXPECT_EQ(format_duration(milliseconds(1)), "1ms");
  EXPECT_EQ(format_duration(milliseconds(1'500)), "1500ms");
  EXPECT_EQ(format_duration(milliseconds(90'000)), "90s");
  EXPECT_EQ(format_duration(milliseconds(300'000)), "5m");
  EXPECT_EQ(format_duration(milliseconds(5'400'000)), "90m");
  EXPECT_EQ(format_duration(milliseconds(7'200'000)), "2h");
  EXPECT_EQ(format_duration(milliseconds(172'800'000)), "2d");
}

TEST(FormatDuration, IsReadBackByParseDuration) {
  for (std::int64_t count = 0; count < 500'000'000; count = count * 3 + 500) {
    EXPECT_EQ(parse_duration(format_duration(milliseconds(count))), milliseconds(count));
  }
}

}  // namespace
}  // namespace dualdeploy
