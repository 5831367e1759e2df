// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Program

/// Which value's codes lie in the two pieces of scratch memory for them, at one point of the
/// phases, so that a value is turned into codes once, and in passing by the phase that makes it
/// where that can do so.
struct CodesInScratch {
  /// Inputs of products in general, and results of gated units, whose scales are finer.
  enum Place { case inputs, gated }

  /// A phase that writes a value, and its codes too if they are filled in.
  private struct Maker {
    var operation: Int
    var fill: (ck_codes) -> Void
  }

  private var held: [Place: (value: ValueID?, operation: Int)] = [:]
  private var makers: [ValueID: Maker] = [:]

  /// The phases of `operation` write `value`, and can write its codes.
  mutating func offer(_ value: ValueID, by operation: Int, fill: @escaping (ck_codes) -> Void) {
    makers[value] = Maker(operation: operation, fill: fill)
  }

  /// The operation that has made codes of `value`, if they still lie there; nil where `operation`
  /// has to make them now, and does.
  mutating func take(
    _ codes: ck_codes, of value: ValueID, in place: Place, for operation: Int
  ) -> Int? {
    if let held = held[place], held.value == value { return held.operation }
    if let maker = makers[value], held[place].map({ $0.operation < maker.operation }) ?? true {
      maker.fill(codes)
      held[place] = (value, maker.operation)
      return maker.operation
    }
    held[place] = (value, operation)
    return nil
  }

  /// `operation` has written codes there that nobody else needs.
  mutating func overwrite(_ place: Place, by operation: Int) { held[place] = (nil, operation) }
}
