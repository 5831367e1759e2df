// SPDX-License-Identifier: Apache-2.0

import CGRPC
import Foundation
import TestSupport
import Testing

/// C-core ignores a channel argument whose key it does not know, without a word. So each key that
/// the shims make must be one that the library in this process looks for.
@Suite struct ArgumentKeyTests {
  /// Each constructor of `CShims/CGRPC/arguments.h`, with the key that it makes.
  private static func arguments() -> [(name: String, key: String)] {
    let constructors: [(String, (Int32) -> grpc_arg)] = [
      ("allow_reuseport", cgrpc_arg_allow_reuseport),
      ("bdp_probe", cgrpc_arg_bdp_probe),
      ("enable_http_proxy", cgrpc_arg_enable_http_proxy),
      ("enable_per_message_decompression", cgrpc_arg_enable_per_message_decompression),
      ("enable_retries", cgrpc_arg_enable_retries),
      ("keepalive_permit_without_calls", cgrpc_arg_keepalive_permit_without_calls),
      ("keepalive_time_ms", cgrpc_arg_keepalive_time_ms),
      ("keepalive_timeout_ms", cgrpc_arg_keepalive_timeout_ms),
      ("max_concurrent_streams", cgrpc_arg_max_concurrent_streams),
      ("max_metadata_size", cgrpc_arg_max_metadata_size),
      ("max_ping_strikes", cgrpc_arg_max_ping_strikes),
      ("max_pings_without_data", cgrpc_arg_max_pings_without_data),
      ("max_receive_message_length", cgrpc_arg_max_receive_message_length),
      ("max_send_message_length", cgrpc_arg_max_send_message_length),
      ("min_recv_ping_interval_ms", cgrpc_arg_min_recv_ping_interval_ms),
      ("server_handshake_timeout_ms", cgrpc_arg_server_handshake_timeout_ms),
      ("service_config_disable_resolution", cgrpc_arg_service_config_disable_resolution),
      ("stream_lookahead_bytes", cgrpc_arg_stream_lookahead_bytes),
      ("tcp_max_read_chunk_size", cgrpc_arg_tcp_max_read_chunk_size),
      ("use_local_subchannel_pool", cgrpc_arg_use_local_subchannel_pool),
      ("write_buffer_size", cgrpc_arg_write_buffer_size),
    ]
    var keys = constructors.map { name, make in (name: name, key: String(cString: make(1).key)) }
    let target = cgrpc_arg_ssl_target_name_override("x")
    keys.append((name: "ssl_target_name_override", key: String(cString: target.key)))
    let quota = grpc_resource_quota_create(nil)
    defer { grpc_resource_quota_unref(quota) }
    keys.append((name: "resource_quota", key: String(cString: cgrpc_arg_resource_quota(quota).key)))
    return keys
  }

  /// The bytes of the gRPC library that this process has loaded.
  private static func library() throws -> Data {
    // The kernel gives it in parts, and gives no size.
    let file = try #require(FileHandle(forReadingAtPath: "/proc/self/maps"))
    let maps = String(decoding: try #require(try file.readToEnd()), as: UTF8.self)
    let path = try #require(maps.firstMatch(of: /\s(\/\S*\/libgrpc\.so\S*)/)?.1)
    return try Data(contentsOf: URL(fileURLWithPath: String(path)))
  }

  /// A string of C, whole.
  private static func knows(_ key: String, _ library: Data) -> Bool {
    library.range(of: Data([0] + key.utf8 + [0])) != nil
  }

  @Test func `the library looks for the key of each argument`() throws {
    let library = try Self.library()
    for (name, key) in Self.arguments() {
      #expect(Self.knows(key, library), "\(name) is '\(key)'")
    }
    // What the macro's name suggests; the library's key has no "recv".
    #expect(!Self.knows("grpc.http2.min_recv_ping_interval_without_data_ms", library))
  }

  @Test func `keys are the documented ones where a wrong one would cut streams`() {
    let keys = Dictionary(uniqueKeysWithValues: Self.arguments().map { ($0.name, $0.key) })
    let expected = [
      "keepalive_time_ms": "grpc.keepalive_time_ms",
      "keepalive_timeout_ms": "grpc.keepalive_timeout_ms",
      "keepalive_permit_without_calls": "grpc.keepalive_permit_without_calls",
      "max_ping_strikes": "grpc.http2.max_ping_strikes",
      "max_pings_without_data": "grpc.http2.max_pings_without_data",
      "min_recv_ping_interval_ms": "grpc.http2.min_ping_interval_without_data_ms",
    ]
    for (name, key) in expected { #expect(keys[name] == key) }
  }

  @Test func `all arguments are in the list above`() throws {
    let path = Repository.path("CShims/CGRPC/arguments.h")
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let listed = Set(Self.arguments().map(\.name))
    let made = Set(
      text.matches(
        of: /(?:^CGRPC_INTEGER_ARGUMENT\(\s*|\scgrpc_arg_)(\w+)[,(]/.anchorsMatchLineEndings()
      )
      .map { String($0.1) })
    #expect(made == listed)
  }
}
