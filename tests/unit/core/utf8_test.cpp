#include "core/utf8.hpp"

#include <gtest/gtest.h>

namespace dualdeploy {
namespace {

TEST(Utf8, CharactersAreAsLongAsTheyAre) {
  for (const std::string_view character : {"a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                           "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(utf8_length(character), character.size());
    EXPECT_EQ(utf8_length(std::string(character) + "\x80"), character.size()) << "what follows is another matter";
    EXPECT_EQ(repaired_utf8(std::string(character)), character);
  }
  EXPECT_EQ(utf8_length(std::string_view("\0", 1)), 1U);
  EXPECT_EQ(utf8_length(""), 0U);
}

TEST(Utf8, WhatIsNoCharacterIsNone) {
  for (const std::string_view broken : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x82(",
                                        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8_length(broken), 0U);
  }
}

TEST(Utf8, OnlyWhatIsBrokenIsReplaced) {
  EXPECT_EQ(repaired_utf8("d\xe9j\xe0 vu"), "d\xef\xbf\xbdj\xef\xbf\xbd vu");
  EXPECT_EQ(repaired_utf8("5 \xe2\x82\xac, cut: \xe2\x82"), "5 \xe2\x82\xac, cut: \xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(repaired_utf8(""), "");
}

}  // namespace
}  // namespace dualdeploy
