#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "core/types.hpp"
#include "instance/metadata.hpp"

/// Which EC2 instance this is. What an instance saved is of no other: an image taken of it brings its state along, and the
/// next instance has to tell.
namespace dualdeploy::instance {

/// Whether the metadata service is asked: as configured, or by what the firmware says of itself (docs.aws.amazon.com:
/// "Detect whether a host is an EC2 instance").
[[nodiscard]] bool on_ec2(const config::Metadata& settings, const std::filesystem::path& firmware = "/sys/class/dmi/id");

/// Routes that the instance's tag `dualdeploy-route` or a line of its user data, `#dualdeploy SERVICE=ROUTE,…`, asks for:
/// by service, "*" for all others. ROUTE is rpm, container or the container's percentage.
using InitialRoutes = std::map<std::string, Route, std::less<>>;

/// Errors name the part that is not understood.
[[nodiscard]] Expected<InitialRoutes> parse_initial_routes(std::string_view text);
/// The rest of the first line that begins with "#dualdeploy "; nothing if there is none.
[[nodiscard]] std::optional<std::string> line_in_user_data(std::string_view user_data);

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
/// As of this boot.
[[nodiscard]] Expected<void> remember(const std::filesystem::path& directory, const std::string& instance_id, const std::string& routes);

struct Identity {
  std::string id;       ///< Empty: not known (yet).
  std::string trouble;  ///< Why not.
  std::string foreign;  ///< The instance whose state was found, and set aside in DIRECTORY/of-ID….
  std::string unusable;  ///< The state is another's and could not be set aside: why it must not be used.
  InitialRoutes initial;
  std::vector<std::string> warnings;
};

/// Whose state the directory holds, asked before it is read: another instance's is set aside. Waits for the answer up to
/// `settings.patience` once a boot, since until then the RPM serves anyway. No answer is not another instance.
[[nodiscard]] boost::asio::awaitable<Identity> identify(boost::asio::any_io_executor executor,
                                                        std::shared_ptr<Metadata> metadata,
                                                        config::Metadata settings, std::filesystem::path directory);

}  // namespace dualdeploy::instance
