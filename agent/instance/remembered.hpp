#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

/// Whose state a directory holds.
namespace dualdeploy::instance {

/// Whether a text can be an instance-id at all. Whatever else a metadata service may say is no answer.
[[nodiscard]] bool is_instance_id(std::string_view text);

/// What DIRECTORY/instance.json says: whose state the directory holds.
struct Remembered {
  std::string instance_id;
  std::string boot_id;  ///< Of the boot in which that was last seen to be so.
  std::string routes;   ///< The initial routes as they were asked for in that boot.
  bool operator==(const Remembered&) const = default;
};
[[nodiscard]] std::optional<Remembered> remembered(const std::filesystem::path& directory);
/// The same of the file's text.
[[nodiscard]] std::optional<Remembered> parse_remembered(std::string_view text);
/// As of this boot.
[[nodiscard]] Expected<void> remember(const std::filesystem::path& directory, const std::string& instance_id, const std::string& routes);

}  // namespace dualdeploy::instance
