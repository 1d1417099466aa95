#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "state/record.hpp"

namespace dualdeploy::state {

/// What survives: DIRECTORY/services/NAME.json, one a service, and DIRECTORY/history.jsonl, one line a record.
/// Writing goes on in a thread of its own, in order: a slow disk delays acknowledgements, never decisions or checks.
class Store {
 public:
  struct Loaded {
    std::optional<Durable> durable;
    std::string trouble;  ///< There was a state and it cannot be used. The file is kept aside for the curious.
    std::string late_record;  ///< What save() had no time to write to the history; it is there now.
  };
  /// The record is the one given to save(), stamped, when the state is saved.
  using OnSaved = std::function<void(std::optional<Error>, std::optional<StampedRecord>)>;

  /// Creates the directories if needed and reads the history. `history_bytes`: of all history files together.
  Store(boost::asio::any_io_executor executor, std::filesystem::path directory, std::int64_t history_bytes);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  [[nodiscard]] Loaded load(const std::string& service);

  /// `on_saved` is called on the executor once the state is durable or is known not to be. `record` tells of the change that
  /// this state is the end of: it is on disk together with the state and follows into the history. An agent that ends in
  /// between has it written there by load().
  void save(const std::string& service, const Durable& durable, std::optional<Record> record, OnSaved on_saved);

  /// Stamps the record with the next number and the time, and keeps it, in memory at once and on disk soon.
  StampedRecord append(const std::string& service, Record record);

  /// The newest `limit` records, oldest first; of one service (and of the agent itself) or of all.
  [[nodiscard]] std::vector<boost::json::object> history(const std::optional<std::string>& service, std::size_t limit,
                                                         bool changes_only) const;

  /// Waits until everything handed over is written (at the end of the program).
  void flush();

 private:
  struct Writer;
  void read_history();
  void keep(const boost::json::object& record);
  [[nodiscard]] bool lacks(std::uint64_t id) const;

  std::filesystem::path directory_;
  std::deque<boost::json::object> recent_;  ///< Bounded; what `history` answers from.
  std::uint64_t last_id_ = 0;
  std::unique_ptr<Writer> writer_;
};

}  // namespace dualdeploy::state
