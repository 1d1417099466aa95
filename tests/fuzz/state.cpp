#include <boost/json.hpp>

#include "fuzz.hpp"
#include "state/manifest.hpp"
#include "state/record.hpp"

/// A file of the state directory: a service's state, lines of the history, or the manifest of an image; and whatever it is,
/// as a text that somebody gave as a reason.
namespace dualdeploy::state {
namespace {

using fuzz::require;

void check_state(std::string_view text) {
  const auto saved = parse_state(text);
  if (!saved) {
    require(!saved.error().message.empty(), "a refusal has a reason");
    return;
  }
  const auto again = parse_state(print_state(saved->durable));
  require(again && again->durable == saved->durable, "a state is read as it was written", text);
  if (saved->record) require(id_of(*saved->record) < std::uint64_t{1} << 53, "a record's number is followed by another");
  const auto& confirm = saved->durable.confirm;
  // Of the decisions' arithmetic: what is left of it at any time that can be.
  if (confirm) {
    const Milliseconds deadline = confirm->deadline.time_since_epoch();
    require(deadline >= Milliseconds{0} && deadline < Milliseconds::max() / 2, "a deadline can be reckoned with");
  }
}

void check_history(std::string_view text) {
  while (!text.empty()) {
    const auto record = parse_history_line(fuzz::take_until(text, "\n"));
    if (record) require(id_of(*record) < std::uint64_t{1} << 53, "a record's number is followed by another");
  }
}

void check_manifest(std::string_view text) {
  const auto manifest = parse_manifest(text);
  if (!manifest) return;
  const auto again = parse_manifest(print_manifest(*manifest));
  require(again && *again == *manifest, "a manifest is read as it was written");
}

/// Reasons, messages of hooks and engines, names of users: none of them may make a file that cannot be read.
void check_texts(const std::string& text) {
  StampedRecord record{7, 1'764'000'000'000, "shop", {}};
  record.record = Record{.kind = RecordKind::flip, .actor = {1000, 1, text}, .from = Route{}, .to = Route::to(Side::container),
                         .reason = text, .message = text};
  const Durable durable{Route::of(25), Hold{{0, 1, text}, text, 1}, Intent{RecordKind::flip, Route{}, Route::of(25), {}, text}};
  const auto saved = parse_state(print_state(durable, record));
  require(saved.has_value(), "a state can be read whatever was said", saved ? "" : saved.error().message);
  require(saved->durable.route == durable.route && saved->record && id_of(*saved->record) == 7, "all of it can");
}

}  // namespace
}  // namespace dualdeploy::state

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  const std::string_view text = fuzz::as_text(data, size);
  state::check_state(text);
  state::check_history(text);
  state::check_manifest(text);
  state::check_texts(std::string(text.substr(0, 500)));
  return 0;
}
