#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace dualdeploy::state {

/// What an image build recorded with `dualctl seal`, in DIRECTORY/image.json. It belongs to the image, not to an
/// instance of it, and stays when an instance's state is dropped.
struct Manifest {
  struct Service {
    std::string package;           ///< NAME-VERSION-RELEASE.ARCH; empty if the configuration names no package.
    std::string package_revision;  ///< May be empty, as may all of the following but the image's name.
    std::string image;             ///< As configured.
    std::string image_id;
    std::string image_revision;
    bool operator==(const Service&) const = default;
  };
  std::string sealed_at;  ///< RFC 3339, UTC.
  std::string version;    ///< Of the agent.
  std::string revision;
  std::map<std::string, Service> services;
  bool operator==(const Manifest&) const = default;
};

inline constexpr const char* manifest_name = "image.json";

/// Nothing: this machine was not made of a sealed image. An error: there is a manifest, or may be one, and it cannot be
/// read; the message says why, and starts with the path.
[[nodiscard]] Expected<std::optional<Manifest>> read_manifest(const std::filesystem::path& directory);
/// The same of the file's text, and that text.
[[nodiscard]] Expected<Manifest> parse_manifest(std::string_view text);
[[nodiscard]] std::string print_manifest(const Manifest& manifest);
/// As a whole or not at all, and durable.
[[nodiscard]] Expected<void> write_manifest(const std::filesystem::path& directory, const Manifest& manifest);

}  // namespace dualdeploy::state
