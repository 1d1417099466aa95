#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "instance/initial_routes.hpp"
#include "instance/metadata.hpp"
#include "instance/remembered.hpp"

/// Which EC2 instance this is. What an instance saved is of no other: an image taken of it brings its state along, and the
/// next instance has to tell.
namespace dualdeploy::instance {

/// Whether the metadata service is asked: as configured, or by what the firmware says of itself (docs.aws.amazon.com:
/// "Detect whether a host is an EC2 instance").
[[nodiscard]] bool on_ec2(const config::Metadata& settings, const std::filesystem::path& firmware = "/sys/class/dmi/id");

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
