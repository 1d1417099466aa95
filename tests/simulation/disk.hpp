#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "core/service.hpp"
#include "simulation/timeline.hpp"

namespace dualdeploy::simulation {

/// The saved states, one file a service, written one after the other for all services as agent/state/store.cpp does. It has no
/// deadline: a disk that hangs keeps everybody waiting.
class Disk {
 public:
  using Done = std::function<void(std::optional<Error>)>;
  struct Loaded {
    std::optional<Durable> durable;
    bool unreadable = false;
    std::optional<Durable> half_written;  ///< What a torn file was to become.
  };

  Disk(Timeline& time, std::size_t services) : time_(time), files_(services) {}

  /// An unreadable file stays so until the next save.
  [[nodiscard]] Loaded load(std::size_t service);
  /// `on_written` when the file is the new one, `done` when that is known.
  void save(std::size_t service, const Durable& durable, std::function<void()> on_written, Done done);
  /// What was on its way is not written, but for what was just being written: perhaps. A power cut may tear that.
  void agent_died(bool power_cut);

  [[nodiscard]] const std::optional<Durable>& content(std::size_t service) const { return files_[service].content; }
  /// Since when a save was last reported as failed although it was written.
  [[nodiscard]] Instant misreported_at(std::size_t service) const { return files_[service].misreported_at; }

 private:
  struct File {
    std::optional<Durable> content;
    std::optional<Durable> torn;
    bool unreadable = false;
    Instant misreported_at;
  };
  struct Job {
    std::size_t service = 0;
    Durable durable;
    bool fails = false;
    bool written_all_the_same = false;  ///< Renamed, and then the directory could not be synchronised.
    Milliseconds takes{0};
    std::function<void()> on_written;
    Done done;
  };
  void work();
  void finish();
  void write(const Job& job);

  Timeline& time_;
  std::vector<File> files_;
  std::deque<Job> jobs_;
};

}  // namespace dualdeploy::simulation
