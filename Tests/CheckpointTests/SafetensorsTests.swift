// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Foundation
import Program
import TestSupport
import Testing

@Suite struct SafetensorsTests {
  /// Opens a folder whose one file has this header and that much data.
  private func open(_ header: String, dataByteCount: Int, lengthSaid: UInt64? = nil) throws
    -> Checkpoint
  {
    let folder = try CheckpointFolder()
    try folder.write(
      "model.safetensors",
      CheckpointFolder.safetensors(
        header, dataByteCount: dataByteCount, lengthSaid: lengthSaid))
    return try folder.open()
  }

  @Test func `tensors are found with their bytes, in any order of the header`() throws {
    let checkpoint = try open(
      """
      {"__metadata__":{"format":"pt"},
       "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
       "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
       "empty":{"dtype":"F32","shape":[0,5],"data_offsets":[4,4]},
       "ids":{"dtype":"I64","shape":[],"data_offsets":[16,24]}}  
      """, dataByteCount: 24)
    #expect(checkpoint.byteCount == 24)
    let stored = try checkpoint.tensor(Weight("b", [2, 3]))
    #expect(stored.type == .bfloat16 && stored.bytesCopied == Array(4..<16))
    #expect(try checkpoint.tensor(Weight("empty", [0, 5])).dequantized() == [])
    #expect(checkpoint.contains("ids") && !checkpoint.contains("__metadata__"))
  }

  @Test func `a tensor off its alignment is copied, and right`() throws {
    // The header's length decides where the data starts: pad it to each of 4 remainders.
    for padding in 0..<4 {
      let header = CheckpointFolder.header(["a": 3]) + String(repeating: " ", count: padding)
      let checkpoint = try open(header, dataByteCount: 12)
      let stored = try checkpoint.tensor(Weight("a", [3]))
      #expect(stored.bytesCopied == Array(0..<12))
      let shared = withExtendedLifetime(stored) { stored.sharedFloat32.map { Array($0) } }
      #expect(shared == stored.dequantized())
    }
  }

  /// Header, bytes of data, and what the message says.
  @Test(arguments: [
    ("[]", 0, "does not start with '{'"),
    (#"{"a":1}"#, 0, "tensor a holds an integer, expected an object"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, 4, "not valid JSON"),
    (#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4, "tensor a has no dtype"),
    (#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4, "has dtype \"F33\""),
    (#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "tensor a has no shape"),
    (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "has -1 in its shape"),
    (#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "has 1.5 in its shape"),
    (#"{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}"#, 4, "has \"1\" in its shape"),
    (
      #"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, 4,
      "tensor a has 9 dimensions"
    ),
    (#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "tensor a has no data_offsets"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "expected [begin, end]"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "with begin <= end"),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4,
      "tensor a ends at byte 8 of the data, but the file holds 4"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}}"#, 8,
      "ends at byte 9223372036854775807"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#, 8,
      "in its data_offsets"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8,
      "tensor a holds 8 bytes, expected 12 for shape [3] of F32"
    ),
    (
      #"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, 0,
      "no whole count of bytes"
    ),
    (#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, 1, "no whole count of bytes"),
    (
      #"""
      {"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
       "b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}
      """#, 6, "tensor b overlaps tensor a"
    ),
    (
      #"""
      {"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
       "b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}
      """#, 4, "tensor b overlaps tensor a"
    ),
    (
      #"""
      {"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
       "b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}}
      """#, 10, "2 bytes between tensor a and tensor b"
    ),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}}"#, 5, "1 bytes between the header"),
    (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 7, "3 bytes behind tensor a"),
    ("{}", 1, "1 bytes behind the header"),
    (
      #"""
      {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
       "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}
      """#, 1, "the key \"a\" is there twice"
    ),
  ])
  func `a wrong header is refused with file, tensor and reason`(
    _ header: String, _ dataByteCount: Int, _ reason: String
  ) {
    let error = #expect(throws: CheckpointError.self) {
      try open(header, dataByteCount: dataByteCount)
    }
    let message = error?.message ?? ""
    #expect(message.contains(reason) && message.contains("/model.safetensors"), "\(message)")
  }

  @Test func `a wrong length of the header is refused`() throws {
    for (length, reason) in [
      (UInt64(100_000_001), "expected at most 100000000"), (.max, "expected at most 100000000"),
      (1 << 63, "expected at most 100000000"), (100_000_000, "is truncated"),
      (1000, "is truncated"), (3, "not valid JSON"), (0, "does not start with '{'"),
    ] {
      let error = #expect(throws: CheckpointError.self) {
        try open(CheckpointFolder.header(["a": 1]), dataByteCount: 4, lengthSaid: length)
      }
      #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }
  }

  @Test func `a file cut anywhere is refused`() throws {
    let folder = try CheckpointFolder()
    let bytes = CheckpointFolder.safetensors(
      CheckpointFolder.header(["a": 2, "b": 3]), dataByteCount: 20)
    for count in 0..<bytes.count {
      try folder.write("model.safetensors", Array(bytes[..<count]))
      let error = #expect(throws: CheckpointError.self) { try folder.open() }
      #expect(error?.message.contains("model.safetensors") == true)
    }
    try folder.write("model.safetensors", bytes)
    _ = try folder.open()
  }

  @Test func `changed files open or are refused, and never read outside`() throws {
    let header = """
      {"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},\
      "b":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[12,16]},\
      "b_scale_inv":{"dtype":"F32","shape":[1,1],"data_offsets":[16,20]}}
      """
    let original = CheckpointFolder.safetensors(header, dataByteCount: 20)
    let folder = try CheckpointFolder(
      config: CheckpointFolder.config.dropLast() + """
        ,"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}}
        """)
    var generator = SeededGenerator(seed: 11)
    var openedCount = 0
    for _ in 0..<4000 {
      let bytes = Mutation.mutated(original, upTo: 200, using: &generator)
      try folder.write("model.safetensors", bytes)
      do throws(CheckpointError) {
        let checkpoint = try folder.open()
        openedCount += 1
        for (name, shape) in [("a", [2, 3]), ("a", [3, 2]), ("b", [2, 2]), ("b", [4])] {
          if let stored = try? checkpoint.tensor(Weight(name, shape)) {
            #expect(stored.dequantized().count == stored.weight.elementCount)
          }
        }
      } catch {
        #expect(error.message.contains("model.safetensors"))
      }
    }
    #expect(openedCount > 50, "only \(openedCount) opened: the mutations are too coarse")
  }
}
