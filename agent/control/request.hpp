#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

/// Reading what a client sent. Pure; every error is a `usage` one that says what was expected.
namespace dualdeploy::control {

/// "/v1/services/shop/flip?x=1" taken apart.
struct Target {
  std::vector<std::string> path;             ///< "v1", "services", "shop", "flip"
  std::map<std::string, std::string> query;  ///< Percent-decoded.
};
[[nodiscard]] Expected<Target> parse_target(std::string_view target);

/// A JSON body whose members are taken one by one; what is left over in the end is an error, so that a misspelt member
/// does not go unnoticed.
class Body {
 public:
  /// An empty text is an empty object.
  [[nodiscard]] static Expected<Body> parse(std::string_view text);

  [[nodiscard]] Expected<std::string> take_text(std::string_view name, std::string fallback);
  [[nodiscard]] Expected<bool> take_flag(std::string_view name);
  [[nodiscard]] Expected<std::int64_t> take_number(std::string_view name, std::int64_t fallback, std::int64_t least,
                                                   std::int64_t most);
  /// A list of texts, empty if absent.
  [[nodiscard]] Expected<std::vector<std::string>> take_texts(std::string_view name, std::size_t most);
  /// Whether the member is there. Asking counts as knowing it.
  [[nodiscard]] bool has(std::string_view name);
  [[nodiscard]] Expected<void> expect_nothing_else() const;

 private:
  boost::json::object members_;
  std::vector<std::string> known_;
};

/// A reason as an operator may give it: one line of at most 500 bytes.
[[nodiscard]] Expected<std::string> take_reason(Body& body);

}  // namespace dualdeploy::control
