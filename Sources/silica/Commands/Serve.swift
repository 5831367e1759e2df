// SPDX-License-Identifier: Apache-2.0

import Engine
import Program
import RPC
import Serving
import Support
import Topology

/// `silica serve`.
enum Serve: Subcommand {
  static let name = "serve"
  static let summary = "serve a model over gRPC"

  static let options =
    ModelOptions.options + [
      Option(
        "--listen", "HOST:PORT", "where to listen; port 0 picks a free one",
        default: "127.0.0.1:50051", repeatable: true),
      Option("--name", "NAME", "the model's name for clients", default: "the folder's"),
      Option("--pollers", "N", "threads that carry calls", default: "one for each NUMA node"),
    ] + ServeTimes.options + ServeSecurity.options + SyntheticOptions.options

  static let discussion = """
    When it is ready it prints one line to standard output for each address:
      silica: listening on HOST:PORT
    SIGTERM and SIGINT drain: health turns NOT_SERVING; after the drain delay sessions are told to
    go away, new generations are refused, running ones finish within the grace time, and the rest
    end with a message of their own. A second signal ends at once.

    Health comes from signs of life of the engine and its devices, not from traffic: ask
    grpc.health.v1 for "" or silica.v1.Inference (send work here?), for liveness, readiness or
    progress.

    \(ServeSecurity.discussion)

    \(SyntheticOptions.discussion)

    examples:
      silica serve --model DeepSeek-V2-Lite-Chat
      silica serve --model DIR --listen 0.0.0.0:50051 --stages 2 --kv-memory 4G
      silica serve --model synthetic --token-rate 50 --token-bytes 4 --max-batch 256
      silica serve --model DIR --listen 0.0.0.0:50051 --tls-certificate server.pem --tls-key key.pem
    """

  static func run(_ arguments: Arguments) throws {
    let options = try ModelOptions(arguments)
    let times = try ServeTimes(arguments)
    let pollerCount = try arguments.integer("--pollers", in: 1...256)
    var addresses = try arguments.addresses("--listen")
    if addresses.isEmpty { addresses = [Address(host: "127.0.0.1", port: 50_051)] }

    ServeLimits.raiseDescriptorLimit()
    var security = try ServeSecurity(arguments, addresses: addresses)
    let model = try LoadedModel(options)
    defer { model.engine.shutdown() }
    let signals = StopSignals()
    var configuration = security.configuration(at: addresses)
    times.apply(to: &configuration.limits)
    let server = try model.server(
      configuration, name: arguments.string("--name"),
      pollerCount: pollerCount, limits: times.limits(), access: security.access)
    defer { server.stop(grace: times.grace, after: times.drainDelay) }
    try server.start()
    try security.start()
    announce(server, model)
    var memory = MemoryTrim()
    while !signals.wait(milliseconds: 500) {
      server.refreshHealth()
      security.refresh()
      memory.tick()
    }
    Console.error("silica: stopping; running generations have \(times.grace) (again to stop now)\n")
    StopSignals.endProcessAtNext()
  }

  private static func announce(_ server: InferenceServer, _ model: LoadedModel) {
    let seconds = (model.loadSeconds * 100).rounded() / 100
    Console.error(
      "silica: \(model.program.name) on \(model.deviceSummary), loaded in \(seconds) s\n")
    if let note = model.note { Console.error("silica: note: \(note)\n") }
    for address in server.addresses { Console.out("silica: listening on \(address)\n") }
  }
}
