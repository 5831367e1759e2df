// SPDX-License-Identifier: Apache-2.0

/// The storage of a message field through which a message can contain itself.
public indirect enum Indirect<Value: Message>: Hashable, Sendable {
  case none
  case some(Value)

  public init(_ value: Value?) { self = value.map(Self.some) ?? .none }

  public var value: Value? {
    if case .some(let value) = self { value } else { nil }
  }
}
