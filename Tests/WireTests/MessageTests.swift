// SPDX-License-Identifier: Apache-2.0

import Messages
import Testing
import Wire

/// The Swift shape of generated messages.
@Suite struct MessageTests {
  @Test func `presence can be asked and cleared, and 0 is not absent`() throws {
    var sampling = Silica_V1_Sampling()
    #expect(!sampling.hasTemperature && sampling.temperature == 0 && sampling.encoded().isEmpty)
    sampling.temperature = 0
    #expect(sampling.hasTemperature)
    #expect(try Silica_V1_Sampling(decoding: sampling.encoded()).hasTemperature)
    sampling.clearTemperature()
    #expect(sampling == Silica_V1_Sampling())
  }

  @Test func `the last member of a oneof is the one`() throws {
    var frame = Silica_V1_ClientFrame()
    frame.cancel = .init()
    frame.ping = .with { $0.nonce = 5 }
    #expect(frame.frame == .ping(.with { $0.nonce = 5 }))
    #expect(frame.start == Silica_V1_Start())
    let first = Silica_V1_ClientFrame.with { $0.cancel = .init() }
    let both = try Silica_V1_ClientFrame(decoding: first.encoded() + frame.encoded())
    #expect(both == frame)
  }

  @Test func `an enum keeps a number that it does not know`() throws {
    #expect(Silica_V1_FinishReason(rawValue: 99) == .UNRECOGNIZED(99))
    #expect(Silica_V1_FinishReason.deadline.rawValue == 4)
    #expect(Silica_Test_Color.crimson == .red)
    let finished = Silica_V1_Finished.with { $0.reason = .UNRECOGNIZED(99) }
    #expect(try Silica_V1_Finished(decoding: finished.encoded()).reason.rawValue == 99)
  }

  @Test func `a message can be written into memory of somebody else`() {
    let delta = Silica_V1_Delta.with { $0.text = "hello" }
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: delta.encodedSize, alignment: 1)
    defer { memory.deallocate() }
    delta.encode(into: memory)
    #expect(Array(memory) == delta.encoded())
  }

  @Test func `a message may contain itself`() throws {
    var tree = Silica_Test_Tree()
    for id in 1...50 {
      let inner = tree
      tree = .with {
        $0.id = UInt32(id)
        $0.left = inner
        $0.leaf = .with { $0.grafted = inner }
      }
      if id > 5 { tree.kind = nil }
    }
    let read = try Silica_Test_Tree(decoding: tree.encoded())
    #expect(read == tree && read.left.left.id == 48)
    tree.clearLeft()
    #expect(!tree.hasLeft)
  }

  @Test func `maps are written in the order of their keys`() {
    let keys = ["b", "a", "é", "e", "", "aa"]
    let forward = Silica_Test_Maps.with { for key in keys { $0.stringBool[key] = true } }
    let backward = Silica_Test_Maps.with {
      for key in keys.reversed() { $0.stringBool[key] = true }
    }
    #expect(forward.encoded() == backward.encoded())
    #expect(forward.encoded().starts(with: [0x6A, 4, 0x0A, 0, 0x10, 1, 0x6A, 5, 0x0A, 1, 0x61]))
  }

  @Test func `a method knows its path, its kind and its types`() {
    let session: MethodDescriptor<Silica_V1_ClientFrame, Silica_V1_ServerFrame> =
      Silica_V1_Inference.session
    #expect(session.path == "/silica.v1.Inference/Session")
    #expect(session.clientStreaming && session.serverStreaming)
    #expect(
      Silica_V1_Inference.methods.map(\.method) == [
        "Session", "Generate", "GetModel", "GetStatistics",
      ])
    #expect(!Silica_V1_Inference.generate.clientStreaming)
    #expect(Grpc_Health_V1_Health.serviceName == "grpc.health.v1.Health")
  }

  @Test func `details are packed as Any and found by their type`() throws {
    let delay = Google_Rpc_RetryInfo.with { $0.retryDelay = .init(milliseconds: 1500) }
    let any = Google_Protobuf_Any(packing: delay)
    #expect(any.typeURL == "type.googleapis.com/google.rpc.RetryInfo")
    #expect(try any.unpacked(as: Google_Rpc_RetryInfo.self)?.retryDelay.milliseconds == 1500)
    #expect(try any.unpacked(as: Google_Rpc_ErrorInfo.self) == nil)
  }
}
