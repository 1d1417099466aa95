#include "state/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "state/files.hpp"
#include "state/rescue.hpp"

namespace dualdeploy::state {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    std::string pattern = fs::temp_directory_path() / "dualdeploy-store-XXXXXX";
    directory = ::mkdtemp(pattern.data());
  }
  ~StoreTest() override { fs::remove_all(directory); }

  std::optional<Error> save(Store& store, const Durable& durable, const std::optional<Record>& record = {}) {
    std::optional<std::optional<Error>> outcome;
    store.save("shop", durable, record, [&](std::optional<Error> error, const std::optional<StampedRecord>& stamped) {
      EXPECT_EQ(stamped.has_value(), record.has_value() && !error);
      outcome = std::move(error);
    });
    store.flush();
    loop.restart();
    loop.run();
    return outcome.value_or(Error{ErrorCode::failed, "no answer"});
  }
  void put(const std::string& name, const std::string& content) const { std::ofstream(directory / name) << content; }

  boost::asio::io_context loop;
  fs::path directory;
};

TEST_F(StoreTest, WhatIsSavedIsLoaded) {
  const Durable durable{Route::to(Side::container), Hold{Actor{1000, 7, "alice"}, "why \"not\"", 42},
                        Intent{RecordKind::flip, Route{}, Route{25}, Actor{0, 1, "root"}, "try"}};
  {
    Store store(loop.get_executor(), directory, 1 << 20);
    EXPECT_FALSE(store.load("shop").durable);
    EXPECT_FALSE(save(store, durable));
  }
  Store store(loop.get_executor(), directory, 1 << 20);
  const auto loaded = store.load("shop");
  ASSERT_TRUE(loaded.durable) << loaded.trouble;
  EXPECT_EQ(loaded.durable->route, durable.route);
  EXPECT_EQ(loaded.durable->hold->reason, durable.hold->reason);
  EXPECT_EQ(loaded.durable->intent->to, durable.intent->to);
}

TEST_F(StoreTest, ARecordIsOnDiskWithItsState) {
  const Record flip{.kind = RecordKind::flip, .actor = Actor{1000, 7, "alice"}, .from = Route{}, .to = Route{25}, .message = "done"};
  {
    Store store(loop.get_executor(), directory, 1 << 20);
    store.append("shop", {.kind = RecordKind::adopt, .message = "before"});
    EXPECT_FALSE(save(store, Durable{.route = Route{25}}, flip));
    store.append("shop", {.kind = RecordKind::adopt, .message = "after"});
    store.flush();
    EXPECT_EQ(store.history("shop", 10, false).size(), 3);
  }
  {  // It has reached the history: nothing to do.
    Store store(loop.get_executor(), directory, 1 << 20);
    EXPECT_EQ(store.load("shop").late_record, "");
    EXPECT_EQ(store.history("shop", 10, false).size(), 3);
  }
  // As an agent leaves it that ends in between.
  const std::string history = *read_file(directory / "history.jsonl", 1 << 20);
  const std::size_t second = history.find('\n') + 1;
  put("history.jsonl", history.substr(0, second));
  for (const bool first_time : {true, false}) {
    Store store(loop.get_executor(), directory, 1 << 20);
    EXPECT_EQ(store.load("shop").late_record.empty(), !first_time);
    store.flush();
    const auto known = store.history("shop", 10, true);
    ASSERT_EQ(known.size(), 2);
    EXPECT_EQ(known.back().at("actor").at("user"), "alice");
    EXPECT_EQ(known.back().at("to"), "container 25%");
  }
  EXPECT_EQ(*read_file(directory / "history.jsonl", 1 << 20), history.substr(0, history.find('\n', second) + 1));
  // The numbers go on after it.
  Store store(loop.get_executor(), directory, 1 << 20);
  EXPECT_EQ(store.append("shop", {.kind = RecordKind::adopt}).id, 3);
}

/// A state is on its way to the disk, and something else happens meanwhile.
TEST_F(StoreTest, RecordsAreInOrderWhicheverIsKnownFirst) {
  Store store(loop.get_executor(), directory, 1 << 20);
  store.save("shop", Durable{.route = Route{25}}, Record{.kind = RecordKind::flip}, [](const auto&, const auto&) {});
  EXPECT_EQ(store.append("shop", {.kind = RecordKind::workload}).id, 2);
  store.flush();
  loop.run();
  const auto known = store.history("shop", 10, false);
  ASSERT_EQ(known.size(), 2);
  EXPECT_EQ(known.front().at("kind"), "flip");
  EXPECT_EQ(known.back().at("kind"), "workload");
}

TEST_F(StoreTest, UnusableStateIsSaidAndKept) {
  for (const std::string content : {"", "{", "[]", "{\"version\":1}", "{\"version\":9,\"route\":\"rpm\"}",
                                    "{\"version\":1,\"route\":\"moon\"}", "\0\0\0\0", "{\"version\":1,\"route\":\"rpm\",\"intent\":3}"}) {
    Store store(loop.get_executor(), directory, 1 << 20);
    put("services/shop.json", content);
    const auto loaded = store.load("shop");
    EXPECT_FALSE(loaded.durable) << content;
    EXPECT_THAT(loaded.trouble, HasSubstr("cannot be used")) << content;
    EXPECT_EQ(*read_file(directory / "services/shop.json.unreadable", 1 << 20), content);
    // An agent that ends before it has saved another must not find nothing, which would be the initial route.
    EXPECT_THAT(store.load("shop").trouble, HasSubstr("cannot be used")) << content;
    EXPECT_FALSE(save(store, Durable{}));
    EXPECT_TRUE(store.load("shop").durable) << content;
    EXPECT_EQ(*read_file(directory / "services/shop.json.unreadable", 1 << 20), content);
  }
}

TEST_F(StoreTest, WhatIsNoTextIsNoReasonToLoseAState) {
  // Of a hook that speaks Latin-1, and of a message cut in the middle of a character.
  const Record flip{.kind = RecordKind::flip, .to = Route{25}, .reason = "d\xe9j\xe0 vu", .message = "hook: 5 \xe2\x82"};
  {
    Store store(loop.get_executor(), directory, 1 << 20);
    EXPECT_FALSE(save(store, Durable{Route{25}, Hold{Actor{0, 1, "\xff"}, "\xff", 1}, {}}, flip));
  }
  Store store(loop.get_executor(), directory, 1 << 20);
  const auto loaded = store.load("shop");
  ASSERT_TRUE(loaded.durable) << loaded.trouble;
  EXPECT_EQ(loaded.durable->route, Route{25});
  ASSERT_EQ(store.history("shop", 10, true).size(), 1);
  EXPECT_EQ(store.history("shop", 10, true).front().at("reason").as_string(), "d\xef\xbf\xbdj\xef\xbf\xbd vu");
}

TEST_F(StoreTest, NumbersThatCannotBeCountedOnAreNone) {
  for (const std::string id : {"-1", "9223372036854775807", "9007199254740992", "1.5", "\"1\""}) {
    put("history.jsonl", "{\"id\":41}\n{\"id\":" + id + "}\n");
    Store store(loop.get_executor(), directory, 1 << 20);
    put("services/shop.json", "{\"version\":1,\"route\":\"rpm\",\"record\":{\"id\":" + id + "}}");
    EXPECT_TRUE(store.load("shop").durable) << id;
    EXPECT_EQ(store.append("shop", {.kind = RecordKind::adopt}).id, 42U) << id;
    store.flush();
  }
}

TEST_F(StoreTest, ATimeThatCannotBeReckonedWithIsOver) {
  for (const std::string deadline : {"-9223372036854775808", "-1", "9223372036854775807", "1e300", "\"soon\""}) {
    Store store(loop.get_executor(), directory, 1 << 20);
    put("services/shop.json", "{\"version\":1,\"route\":\"container\",\"confirm\":{\"back_to\":\"rpm\",\"boot_id\":\"b\",\"deadline_boottime_ms\":" +
                                  deadline + "}}");
    const auto loaded = store.load("shop");
    ASSERT_TRUE(loaded.durable && loaded.durable->confirm) << deadline;
    EXPECT_EQ(loaded.durable->confirm->deadline, Instant{}) << deadline;
  }
}

TEST_F(StoreTest, FailureIsReported) {
  Store store(loop.get_executor(), directory, 1 << 20);
  fs::remove_all(directory / "services");
  const auto error = save(store, Durable{});
  ASSERT_TRUE(error);
  EXPECT_THAT(error->message, HasSubstr("No such file"));
}

TEST_F(StoreTest, HistoryGoesOnAcrossATornLine) {
  std::uint64_t last = 0;
  {
    Store store(loop.get_executor(), directory, 1 << 20);
    store.append("shop", Record{.kind = RecordKind::flip, .message = "one"});
    last = store.append("other", Record{.kind = RecordKind::health, .message = "two"}).id;
    store.flush();
  }
  { std::ofstream(directory / "history.jsonl", std::ios::app) << "{\"id\":99,\"mess"; }
  Store store(loop.get_executor(), directory, 1 << 20);
  EXPECT_EQ(store.append("shop", Record{.kind = RecordKind::revert, .message = "three"}).id, last + 1);
  store.flush();
  EXPECT_EQ(store.history(std::nullopt, 10, false).size(), 3U);
  EXPECT_EQ(store.history(std::nullopt, 10, true).size(), 2U);
  EXPECT_EQ(store.history("other", 10, false).size(), 1U);
  EXPECT_EQ(store.history(std::nullopt, 1, false).front().at("message").as_string(), "three");
  const auto content = read_file(directory / "history.jsonl", 1 << 20);
  EXPECT_THAT(*content, HasSubstr("mess\n{\"id\":3"));
}

TEST_F(StoreTest, HistoryIsBounded) {
  Store store(loop.get_executor(), directory, 64 * 1024);
  for (int i = 0; i < 1'000; ++i) store.append("shop", Record{.kind = RecordKind::flip, .message = std::string(200, 'x')});
  store.flush();
  EXPECT_LT(fs::file_size(directory / "history.jsonl") + fs::file_size(directory / "history.1.jsonl"), 70U * 1024);
}

TEST_F(StoreTest, RescueForgetsRoutesAndKeepsHolds) {
  {
    Store store(loop.get_executor(), directory, 1 << 20);
    EXPECT_FALSE(save(store, Durable{Route::to(Side::container), Hold{Actor{}, "x", 1}, {}}));
  }
  const auto done = forget_routes(directory, "on call", Actor{0, 1, "root"});
  ASSERT_TRUE(done);
  EXPECT_THAT(*done, HasSubstr("1 saved route"));
  Store store(loop.get_executor(), directory, 1 << 20);
  EXPECT_TRUE(store.load("shop").durable->route.all_rpm());
  EXPECT_TRUE(store.load("shop").durable->hold);
}

}  // namespace
}  // namespace dualdeploy::state
