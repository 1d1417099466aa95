#include "core/printable.hpp"

#include <gtest/gtest.h>

namespace dualdeploy {
namespace {

TEST(Printable, TextIsLeftAsItIs) {
  for (const char* text : {"", "plain", "Grüße, 東京, 🙂", "a\\x1bb", "50 % 'quoted' $(x) `y`"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_TRUE(is_printable(text)) << text;
  }
}

TEST(Printable, WhatATerminalWouldObeyIsShownInstead) {
  const std::pair<std::string, std::string> cases[] = {
      {"\x1b[2J", "\\x1b[2J"},                        // Clears the screen.
      {"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"},     // Sets the title.
      {"\xc2\x9b" "2J", "\\xc2\\x9b2J"},              // CSI as one character, U+009B.
      {"a\r\nb\tc", "a\\x0d\\x0ab\\x09c"},            // Another line, a line overwritten.
      {"\x7f", "\\x7f"},
      {"\xe2\x80\xae" "txt", "\\xe2\\x80\\xaetxt"},   // U+202E turns what follows around.
      {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},            // U+2028, a line's end.
      {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},            // U+2066
      {std::string("\0", 1), "\\x00"}};
  for (const auto& [text, shown] : cases) {
    EXPECT_EQ(printable(text), shown);
    EXPECT_FALSE(is_printable(text)) << shown;
    EXPECT_TRUE(is_printable(shown)) << shown;
  }
}

TEST(Printable, BytesThatAreNoUtf8AreShown) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc3"), "\\xc3");                          // Cut off.
  EXPECT_EQ(printable("\xc3(") , "\\xc3(");
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");                 // A longer form of ESC.
  EXPECT_EQ(printable("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");        // Likewise.
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");        // A surrogate.
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // Beyond U+10FFFF.
}

}  // namespace
}  // namespace dualdeploy
