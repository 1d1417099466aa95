#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/time.hpp"
#include "instance/metadata.hpp"

namespace dualdeploy::instance {

/// Looks at what EC2 has in mind for this instance: the target lifecycle state of its Auto Scaling group, and the notice
/// of a Spot instance. Silence and errors of the metadata service change nothing.
class Notices {
 public:
  struct Watcher {
    /// Why the instance is to leave; nothing: it is not (any more). Called at changes.
    std::function<void(std::optional<std::string> why)> on_leave;
    /// The instance-id, once it is known, if it was not.
    std::function<void(std::string id)> on_identity;
    /// Why the metadata service cannot be asked; nothing: it can. Called at changes.
    std::function<void(std::optional<std::string> trouble)> on_trouble;
  };

  Notices(boost::asio::any_io_executor executor, std::shared_ptr<Metadata> metadata, Milliseconds poll,
          bool identity_known, Watcher watcher);
  ~Notices();
  Notices(const Notices&) = delete;
  Notices& operator=(const Notices&) = delete;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::instance
