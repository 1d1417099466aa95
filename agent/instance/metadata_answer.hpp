#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "core/time.hpp"

/// What the metadata service's answers say. Pure. Errors are what happened, for the caller to say where and to what.
namespace dualdeploy::instance {

constexpr std::size_t answer_limit = 64 * 1024;  ///< Above the 16 KiB that user data may have.
constexpr std::int64_t token_seconds = 21'600;   ///< The longest that the service grants.
constexpr const char* lifetime_header = "X-aws-ec2-metadata-token-ttl-seconds";

struct Answer {
  unsigned status = 0;
  std::string body;
  std::string lifetime;  ///< Of the token, as the service says.
};
using AnswerParser = boost::beast::http::response_parser<boost::beast::http::string_body>;
/// Of a parser that is done; it is empty afterwards. An error for an answer that does not say where it ends.
[[nodiscard]] std::expected<Answer, std::string> read_answer(AnswerParser& parser);

struct Token {
  std::string text;
  Instant renew_at;
};
/// Of the answer to the request for a token that was made at `begun`.
[[nodiscard]] std::expected<Token, std::string> read_token(const Answer& answer, Instant begun);

/// Of the answer to the request for a value; nothing: there is no such value.
[[nodiscard]] std::expected<std::optional<std::string>, std::string> read_value(const Answer& answer);

}  // namespace dualdeploy::instance
