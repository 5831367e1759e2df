// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension EndToEnd {
  /// Pings of either side: they cut nobody who lives, and find who does not.
  @Suite struct KeepaliveTests {
    @Test func `a client that pings through a silence is not cut off`() throws {
      // Three pings a second, with no call at first, and then with one that is silent: as long as a
      // test may be. The program's own default is ten minutes.
      let result = try PythonProcess.run([
        Repository.path("Benchmarks/soak/quiet_stream.py"), try SilicaCommand.path(),
        "--ping-seconds", "0.3", "--idle-seconds", "4", "--seconds", "16",
      ])
      #expect(result.status == 0, "\(result.output)\(result.errors)")
    }

    @Test func `a client that vanishes without a word is noticed`() throws {
      let options = [
        "--keepalive-interval", "1", "--keepalive-timeout", "1", "--token-rate", "20",
      ]
      try RunningServer.with(model: "synthetic", options) { server in
        // A second more for a busy machine.
        try Script.expectSuccess("vanished_client.py", server.target, "3")
      }
    }
  }
}
