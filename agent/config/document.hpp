#pragma once

#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <optional>
#include <string>

#include "config/parse.hpp"
#include "config/reader.hpp"

namespace dualdeploy::config {

inline constexpr std::size_t largest_file_bytes = 1024 * 1024;

/// Why a file or directory of the configuration is not root's alone, as sudo, cron and logrotate have it with theirs. Nothing
/// if it is, or if this process is not root, which the agent always is.
[[nodiscard]] std::optional<std::string> writable_by_others(const struct stat& status);

/// The file's text, or why it cannot be read (also: larger than any configuration).
[[nodiscard]] Source read_source(const std::filesystem::path& file);

/// The one YAML document of the source; a null node if it holds nothing but comments. What is wrong with it as
/// such (unreadable, not text, not YAML, several documents) is reported.
[[nodiscard]] std::optional<YAML::Node> parse_document(const Source& source, Report& report);

}  // namespace dualdeploy::config
