// SPDX-License-Identifier: Apache-2.0
// The options of a program, `--name value` each: numbers and texts, each with a default.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

class Arguments {
 public:
  using Numbers = std::map<std::string, int64_t>;
  using Texts = std::map<std::string, std::string>;

  // Every program takes --target, and must be given it.
  Arguments(int argc, char** argv, Numbers numbers, Texts texts = {})
      : numbers_(std::move(numbers)), texts_(std::move(texts)) {
    texts_.emplace("target", "");
    for (int i = 1; i < argc; i += 2) {
      const std::string option = argv[i];
      if (i + 1 == argc) Usage(option + " needs a value");
      const std::string name = option.rfind("--", 0) == 0 ? option.substr(2) : "";
      if (texts_.count(name) > 0) {
        texts_[name] = argv[i + 1];
      } else if (numbers_.count(name) > 0) {
        numbers_[name] = Number(option, argv[i + 1]);
      } else {
        Usage("unknown option " + option);
      }
    }
    if (target().empty()) Usage("--target is required");
  }

  [[noreturn]] static void Usage(const std::string& problem) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::exit(2);
  }

  const std::string& target() const { return text("target"); }
  const std::string& text(const std::string& name) const { return texts_.at(name); }
  int64_t operator[](const std::string& name) const { return numbers_.at(name); }

 private:
  static int64_t Number(const std::string& option, const char* value) {
    char* end = nullptr;
    const int64_t number = std::strtoll(value, &end, 10);
    if (end == value || *end != 0 || number < 0) {
      Usage(option + " is '" + value + "'; expected a number");
    }
    return number;
  }

  Numbers numbers_;
  Texts texts_;
};
