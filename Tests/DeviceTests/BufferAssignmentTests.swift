// SPDX-License-Identifier: Apache-2.0

import Device
import Program
import Testing

/// Values may share memory, but never while both are needed.
@Suite struct BufferAssignmentTests {
  /// Runs a program in thought: a buffer's content is the last value written to it.
  private func checkReads(_ program: Program) throws {
    let assignment = BufferAssignment(program)
    var contents = [ValueID?](repeating: nil, count: assignment.buffers.count)
    if case .hidden(let value) = program.input { contents[try #require(assignment[value])] = value }
    for operation in program.operations {
      for value in operation.reads {
        let buffer = try #require(assignment[value])
        #expect(contents[buffer] == value, "\(value) was overwritten before \(operation)")
      }
      for value in operation.writes {
        let buffer = try #require(assignment[value])
        let inputs = operation.reads.filter { $0 != value }
        #expect(!inputs.contains { assignment[$0] == buffer }, "\(value) lies over an input")
        #expect(assignment.buffers[buffer].width >= program[value].width)
        #expect(assignment.buffers[buffer].kind == program[value].kind)
        #expect(assignment.buffers[buffer].rows == program[value].rows)
        contents[buffer] = value
      }
    }
    switch program.output {
    case .logits(let value), .hidden(let value):
      #expect(contents[try #require(assignment[value])] == value)
    }
  }

  @Test(arguments: OperationCase.all)
  func `no value is overwritten while it is needed`(_ operation: OperationCase) throws {
    try checkReads(operation.program)
    try checkReads(operation.program.withLogSumExp())
  }

  @Test func `layers reuse the buffers of earlier layers`() throws {
    func program(layers: Int) -> Program {
      OperationCase("deep", width: 8) { b, x in
        (0..<layers).reduce(x) { x, layer in
          let normed = b.rmsNorm(x, Weight("\(layer).n", [8]), epsilon: 1e-6)
          let gate = b.linear(normed, Weight("\(layer).g", [24, 8]))
          let up = b.linear(normed, Weight("\(layer).u", [24, 8]))
          let down = b.linear(b.swiglu(gate: gate, up: up), Weight("\(layer).d", [8, 24]))
          return b.add(x, down)
        }
      }.program
    }
    try checkReads(program(layers: 6))
    let buffers = BufferAssignment(program(layers: 2)).buffers
    #expect(BufferAssignment(program(layers: 6)).buffers == buffers)
    #expect(buffers.count <= 6)
  }

  @Test func `operations done at once write over none of their inputs`() throws {
    // The output of an attention could take the place of its sum with the residual.
    let program = OperationCase("fused", width: 8) { b, x in
      (0..<3).reduce(x) { x, layer in
        let normed = b.rmsNorm(x, Weight("\(layer).n", [8]), epsilon: 1e-6)
        return b.add(x, b.linear(normed, Weight("\(layer).o", [8, 8])))
      }
    }.program
    let groups = program.operations.indices.dropLast().compactMap { index -> Range<Int>? in
      if case .linear = program.operations[index] { index..<index + 2 } else { nil }
    }
    let (apart, fused) = (
      BufferAssignment(program), BufferAssignment(program, fused: groups)
    )
    for group in groups {
      guard let input = program.operations[group.lowerBound].reads.first,
        let output = program.operations[group.lowerBound + 1].writes.first
      else { continue }
      #expect(apart[input] == apart[output], "the case is one")
      #expect(fused[input] != fused[output])
    }
    #expect(!groups.isEmpty)
  }

  @Test func `a value that nothing uses has no buffer`() {
    var program = OperationCase.all[0].program
    program.values.append(Value(label: "unused", width: 3))
    #expect(BufferAssignment(program)[ValueID(index: program.values.count - 1)] == nil)
  }

  @Test func `a value written from outside keeps its buffer until it is read`() throws {
    var program = OperationCase.all[1].program
    // Without its embedding, the program's input comes from outside.
    let input = program.operations[0].writes[0]
    program.operations.removeFirst()
    program.input = .hidden(input)
    try checkReads(program)
  }
}
