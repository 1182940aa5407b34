#include "model/gguf.h"

#include <gtest/gtest.h>

#include "model/gguf_builder.h"
#include "model/tokenizer.h"

namespace kvkeep {
namespace {

constexpr uint32_t kU8 = 0, kU32 = 4, kF32 = 6, kBool = 7, kText = 8, kU64 = 10;

TEST(Gguf, ReadsTheEmbeddedModel) {
  const std::string path = std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf";
  const auto file = Gguf::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(file->tensors().size(), 56u);
  EXPECT_EQ(file->text("general.architecture").value(), "llama");
  EXPECT_EQ(file->integer("llama.block_count").value(), 6);
  EXPECT_FLOAT_EQ(static_cast<float>(file->number("llama.rope.freq_base", 0)), 10000.0f);
  EXPECT_TRUE(file->boolean("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(file->strings("tokenizer.ggml.tokens")->size(), 2048u);
  EXPECT_EQ(file->integers("tokenizer.ggml.token_type")->size(), 2048u);
  const Tensor* tensor = file->find("blk.0.attn_k.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->columns(), 256);
  EXPECT_EQ(tensor->rows(), 128);
  EXPECT_EQ(tensor->type, TensorType::f16);
  EXPECT_EQ(tensor->data.size(), 256u * 128 * 2);
  EXPECT_EQ(file->find("nothing"), nullptr);
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  GgufBuilder builder(0, 14, 2);
  builder.key("u8", kU8).put(uint8_t{200}).key("i8", 1).put(int8_t{-5});
  builder.key("u16", 2).put(uint16_t{60000}).key("i16", 3).put(int16_t{-300});
  builder.key("u32", kU32).put(uint32_t{4000000000}).key("i32", 5).put(int32_t{-7});
  builder.key("u64", kU64).put(uint64_t{1} << 62).key("i64", 11).put(int64_t{-1});
  builder.key("f32", kF32).put(1.5f).key("f64", 12).put(-2.25).key("b", kBool).put(uint8_t{1});
  builder.array("texts", kText, 2).text("x").text("").array("bools", kBool, 1).put(uint8_t{1});
  builder.array("halves", kF32, 1).put(0.5f);
  const auto file = builder.open();
  ASSERT_TRUE(file) << file.error().message;
  const std::pair<const char*, int64_t> integers[] = {{"u8", 200},
                                                      {"i8", -5},
                                                      {"u16", 60000},
                                                      {"i16", -300},
                                                      {"u32", 4000000000},
                                                      {"i32", -7},
                                                      {"u64", int64_t{1} << 62},
                                                      {"i64", -1}};
  for (const auto& [key, value] : integers) EXPECT_EQ(file->integer(key).value(), value);
  EXPECT_EQ(file->number("f32", 0), 1.5);
  EXPECT_EQ(file->number("f64", 0), -2.25);
  EXPECT_EQ(file->number("i32", 0), -7.0);
  EXPECT_EQ(*file->strings("texts"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(*file->integers("bools"), std::vector<int64_t>{1});
  EXPECT_EQ(*file->numbers("halves"), std::vector<double>{0.5});
}

TEST(Gguf, LookUpsNameTheKeyAndFallBackOnlyWhenAsked) {
  const auto file = GgufBuilder(0, 1).key("a", kText).text("x").open().value();
  EXPECT_EQ(file.integer("a").error().message, "m.gguf: key 'a' is text, integer is needed");
  EXPECT_EQ(file.text("b").error().message, "m.gguf: key 'b' is missing");
  EXPECT_EQ(file.text("b").error().code, ErrorCode::bad_input);
  EXPECT_EQ(file.integer("a", 3), 3);
  EXPECT_EQ(file.text("b", "y"), "y");
  EXPECT_EQ(file.strings("a"), nullptr);
}

TEST(Gguf, RefusesBrokenHeaders) {
  EXPECT_EQ(Gguf::parse({}, "m.gguf").error().message,
            "m.gguf: magic ends the file early: 4 bytes needed at offset 0, 0 left");
  const std::string zip = "PK\3\4 and more that is not a model";
  EXPECT_EQ(Gguf::parse(std::as_bytes(std::span(zip)), "m.gguf").error().message,
            "m.gguf: not a GGUF file: it begins with 0x04034b50, not 0x46554747");
  EXPECT_EQ(GgufBuilder(0, 0, 4).error(), "m.gguf: version is 4, allowed are 2 and 3");
  EXPECT_EQ(GgufBuilder(0, 0, 0x03000000).error(),
            "m.gguf: the file is big-endian, only little-endian files are read");
  EXPECT_EQ(GgufBuilder(uint64_t{1} << 60, 0).error(),
            "m.gguf: tensor count is 1152921504606846976, at most 0 fit the rest of the file");
  EXPECT_EQ(GgufBuilder(0, 5).text("k").error(),
            "m.gguf: key count is 5, at most 0 fit the rest of the file");
  EXPECT_EQ(Gguf::open("/nonexistent.gguf").error().code, ErrorCode::bad_input);
}

TEST(Gguf, RefusesBrokenMetadata) {
  const auto one = [] { return GgufBuilder(0, 1); };
  EXPECT_EQ(one().key("k", 13).put(uint64_t{0}).error(),
            "m.gguf: value of key 'k' has value type 13, allowed are 0 to 12");
  EXPECT_EQ(one().key("k\n", kBool).put(uint8_t{2}).error(),
            "m.gguf: value of key 'k\\x0a' is 2, a boolean is 0 or 1");
  EXPECT_EQ(one().key("", kU8).put(uint8_t{0}).put(uint8_t{0}).error(), "m.gguf: key 0 is empty");
  EXPECT_EQ(one().key("k", kText).put(~uint64_t{0}).error(),
            "m.gguf: value of key 'k' has 18446744073709551615 bytes, at most 16777216 allowed");
  EXPECT_EQ(one().key("k", kText).put(uint64_t{9}).error(),
            "m.gguf: value of key 'k' ends the file early: 9 bytes needed at offset 45, 0 left");
  EXPECT_EQ(one().key("k", kU64).put(~uint64_t{0}).error(),
            "m.gguf: value of key 'k' is 18446744073709551615, at most 9223372036854775807 "
            "allowed");
  EXPECT_EQ(one().array("k", 9, 1).put(kU8).put(uint64_t{0}).error(),
            "m.gguf: value of key 'k' is an array of arrays, allowed are arrays of values");
  EXPECT_EQ(one().array("k", kText, uint64_t{1} << 40).put(uint64_t{0}).error(),
            "m.gguf: length of value of key 'k' is 1099511627776, at most 1 fit the rest of the "
            "file");
  GgufBuilder twice(0, 2);
  twice.key("k", kU8).put(uint8_t{1}).key("k", kU8).put(uint8_t{1});
  EXPECT_EQ(twice.error(), "m.gguf: key 'k' stands twice");
}

TEST(Gguf, RefusesBrokenTensors) {
  const auto refusal = [](std::initializer_list<uint64_t> shape, uint32_t type, uint64_t offset) {
    return GgufBuilder(1, 0).tensor("t", shape, type, offset).data(256).error();
  };
  EXPECT_EQ(refusal({64}, 0, 0), "none");
  EXPECT_EQ(refusal({}, 0, 0), "m.gguf: tensor 't' has 0 dimensions, allowed are 1 to 4");
  EXPECT_EQ(refusal({1, 1, 1, 1, 1}, 0, 0),
            "m.gguf: tensor 't' has 5 dimensions, allowed are 1 to 4");
  EXPECT_EQ(refusal({8, 0}, 0, 0),
            "m.gguf: tensor 't': dimension 1 is 0, allowed are 1 to 9223372036854775807");
  EXPECT_EQ(refusal({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0),
            "m.gguf: tensor 't' has more values than 64 bits count");
  EXPECT_EQ(refusal({(uint64_t{1} << 62)}, 0, 0),
            "m.gguf: tensor 't' has more values than 64 bits count");
  EXPECT_EQ(refusal({64}, 99, 0),
            "m.gguf: tensor 't' has type 99, read are f32=0 f16=1 q4_0=2 q4_1=3 q8_0=8 q4_k=12 "
            "q5_k=13 q6_k=14 bf16=30");
  EXPECT_EQ(refusal({33, 2}, 8, 0),
            "m.gguf: tensor 't' has 33 columns, q8_0 needs a multiple of 32");
  EXPECT_EQ(refusal({8}, 0, 8), "m.gguf: tensor 't': offset 8 is no multiple of the alignment 32");
  EXPECT_EQ(refusal({65}, 0, 0),
            "m.gguf: tensor 't': 260 bytes at offset 0 leave the file, whose data has 256 bytes");
  EXPECT_EQ(refusal({8}, 0, ~uint64_t{31}),
            "m.gguf: tensor 't': 32 bytes at offset 18446744073709551584 leave the file, whose "
            "data has 256 bytes");
  GgufBuilder twice(2, 0);
  twice.tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).data(64);
  EXPECT_EQ(twice.error(), "m.gguf: tensor 't' stands twice");
  GgufBuilder long_name(1, 0);
  long_name.tensor(std::string(65, 'n'), {1}, 0, 0).data(64);
  EXPECT_EQ(long_name.error(), "m.gguf: name of tensor 0 has 65 bytes, at most 64 allowed");
}

TEST(Gguf, AlignmentIsAPowerOfTwoAndMovesTheData) {
  const auto aligned = [](uint32_t alignment) {
    GgufBuilder builder(1, 1);
    builder.key("general.alignment", kU32).put(alignment).tensor("t", {2}, 0, 0);
    return builder.data(8, 256);
  };
  const GgufBuilder wide = aligned(256);
  EXPECT_EQ(static_cast<int>(wide.open()->find("t")->data[0]), 1);
  EXPECT_EQ(aligned(24).error(),
            "m.gguf: general.alignment is 24, allowed are powers of two from 8 to 1048576");
  EXPECT_EQ(aligned(0).error(),
            "m.gguf: general.alignment is 0, allowed are powers of two from 8 to 1048576");
}

TEST(Gguf, TensorsMayNotShareBytes) {
  GgufBuilder apart(2, 0);
  apart.tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 32).data(64);
  EXPECT_TRUE(apart.open());
  GgufBuilder shared(2, 0);
  shared.tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64);
  EXPECT_EQ(shared.error(), "m.gguf: tensors 'a' and 'b' overlap");
}

TEST(Gguf, ExpectRefusesOtherKindsButNotAbsentKeys) {
  using Kind = Gguf::Kind;
  const auto file = GgufBuilder(0, 1).key("a", kText).text("x").open().value();
  const auto ask = [&](std::string_view key, Kind kind) {
    const Gguf::Expected expected[] = {{key, kind}};
    const auto result = file.expect(expected);
    return result ? std::string("fine") : result.error().message;
  };
  EXPECT_EQ(ask("a", Kind::text), "fine");
  EXPECT_EQ(ask("b", Kind::integer), "fine");
  EXPECT_EQ(ask("a", Kind::integer), "m.gguf: key 'a' is text, an integer is needed");
  EXPECT_EQ(ask("a", Kind::number), "m.gguf: key 'a' is text, a number is needed");
  EXPECT_EQ(ask("a", Kind::boolean), "m.gguf: key 'a' is text, true or false is needed");
  EXPECT_EQ(ask("a", Kind::integers), "m.gguf: key 'a' is text, an array of integers is needed");
}

TEST(TokenizerSpec, BosFollowsTheFamilyWhereTheFileIsSilent) {
  const auto adds_bos = [](const char* pre, bool mistyped) {
    GgufBuilder builder(0, 5);
    builder.key("tokenizer.ggml.model", kText)
        .text("gpt2")
        .key("tokenizer.ggml.pre", kText)
        .text(pre);
    builder.array("tokenizer.ggml.tokens", kText, 1).text("a");
    builder.array("tokenizer.ggml.merges", kText, 0);
    if (mistyped)
      builder.key("tokenizer.ggml.bos_token_id", kText).text("a");
    else
      builder.key("tokenizer.ggml.bos_token_id", kU32).put(uint32_t{0});
    const auto spec = read_tokenizer_spec(*builder.open());
    return spec ? (spec->add_bos ? "yes" : "no") : spec.error().message;
  };
  EXPECT_EQ(adds_bos("llama-bpe", false), "yes");
  EXPECT_EQ(adds_bos("qwen2", false), "no");
  EXPECT_EQ(adds_bos("qwen2", true),
            "m.gguf: key 'tokenizer.ggml.bos_token_id' is text, an integer is needed");
}

}  // namespace
}  // namespace kvkeep
