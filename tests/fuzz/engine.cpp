#include <boost/json.hpp>

#include "fuzz.hpp"
#include "workload/engine_answer.hpp"

/// An answer of a container engine. The first line says to what ("image", "container", "versions", "events") and how: an
/// HTTP status, the header Api-Version, or the size of the pieces that a stream comes in. The rest is what the engine sent.
namespace dualdeploy::workload {
namespace {

using fuzz::require;

void check(const Error& error) {
  require(!error.message.empty() && error.message.size() < 64 * 1024, "an error is a text for people");
}

void read_events(std::string_view stream, std::size_t piece) {
  const auto in_pieces = [&](std::size_t size) {
    std::vector<std::string> told;
    EventLines lines;
    bool bounded = true;
    for (std::size_t at = 0; at < stream.size() && bounded; at += size) {
      bounded = lines.take(stream.substr(at, size),
                           [&](const EngineClient::Event& event) { told.push_back(event.action + " " + event.exit_code); });
    }
    return told;
  };
  require(in_pieces(piece) == in_pieces(stream.size() + 1), "how a stream is cut makes no difference");
}

}  // namespace
}  // namespace dualdeploy::workload

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  using namespace dualdeploy::workload;
  std::string_view body = fuzz::as_text(data, size);
  const std::string_view what = fuzz::take_until(body, " ");
  const std::string how(fuzz::take_until(body, "\n"));
  const auto number = static_cast<unsigned>(std::strtoul(how.c_str(), nullptr, 10));
  const Answer answer{number, std::string(body), how};
  if (what == "image") {
    const auto image = read_image(answer);
    if (!image) check(image.error());
    fuzz::require(number != 404 || (image && !*image), "404 is none");
  } else if (what == "container") {
    const auto container = read_container(answer);
    if (!container) check(container.error());
    fuzz::require(number != 404 || (container && !*container), "404 is none");
  } else if (what == "versions") {
    const auto versions = read_versions(answer, answer);
    if (!versions) check(versions.error());
  } else if (what == "events") {
    read_events(body, number % 100 + 1);
  }
  return 0;
}
