/**
 * Objects as `clang -target bpf -c` writes them: ELF files with one program in each executable section, and maps as
 *
 *     struct { __u32 type, key_size, value_size, max_entries, map_flags; } peers __attribute__((section("maps")));
 *
 * that programs name. Nothing else is linked: no functions of one's own that are not inlined, no global variables.
 */
import { BpfMap, type BpfMapType, mapTypes } from './map.ts';
import { BpfProgram, type BpfProgramKind, INSTRUCTION_SIZE } from './program.ts';

/** The file is no BPF object, or has in it what this loader does not do. */
export class BpfObjectError extends Error {
  override readonly name = 'BpfObjectError';
}

// elf.h, 64 bit, little-endian
const MAGIC = 0x464c457f;
/** EI_CLASS and EI_DATA as one number: ELFCLASS64, ELFDATA2LSB. */
const CLASS_64_LITTLE_ENDIAN = 0x0201;
const EM_BPF = 247;
const SHT_PROGBITS = 1;
const SHT_SYMTAB = 2;
const SHT_REL = 9;
const SHF_EXECINSTR = 4n;
const SHT_NOBITS = 8;
const FILE_HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const RELOCATION_SIZE = 16;
const STT_FUNC = 2;
/** R_BPF_64_64: the 64 bits of a wide load. */
const R_BPF_64_64 = 1n;
// linux/bpf.h
const BPF_LD_IMM64 = 0x18;
const BPF_PSEUDO_MAP_FD = 1;
/** The map struct above. */
const MAP_DEFINITION_SIZE = 20;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly info: number;
  readonly link: number;
  readonly bytes: Buffer;
}

interface Symbol64 {
  readonly name: string;
  readonly type: number;
  readonly section: number;
  readonly value: number;
}

/** A map or program of the file, before it is loaded. */
interface Definition {
  readonly name: string;
  readonly bytes: Buffer;
}

interface ProgramDefinition extends Definition {
  /** Where in `bytes` which map is meant. */
  readonly references: readonly { readonly offset: number; readonly map: string }[];
}

/** A parsed object file. Pure: nothing is in the kernel before `load`. */
export class BpfObject {
  readonly #maps: ReadonlyMap<string, Definition>;
  readonly #programs: ReadonlyMap<string, ProgramDefinition>;
  readonly #license: string;

  /** @throws BpfObjectError */
  constructor(file: Uint8Array) {
    const sections = readSections(Buffer.from(file));
    const symbols = readSymbols(sections);
    const mapSection = sections.findIndex(({ name }) => name === 'maps');
    const inMaps = symbols.filter(({ section, name }) => section === mapSection && name !== '');
    this.#maps = new Map(inMaps.map((symbol) => [symbol.name, mapDefinition(sections[mapSection], symbol)]));
    this.#programs = new Map(
      sections.flatMap((section, index) =>
        isProgram(section) ? [programDefinition(sections, symbols, index, this.#maps)] : [],
      ),
    );
    const license = sections.find(({ name }) => name === 'license')?.bytes.toString('latin1') ?? '';
    this.#license = license.replace(/\0.*$/s, '');
  }

  /** Names of the maps in the file. */
  get mapNames(): string[] {
    return [...this.#maps.keys()];
  }

  /** Names of the programs (C functions) in the file. */
  get programNames(): string[] {
    return [...this.#programs.keys()];
  }

  /** Makes one of the file's maps. @throws BpfObjectError, SystemError */
  createMap(name: string): BpfMap {
    const definition = this.#maps.get(name);
    if (definition === undefined) throw new BpfObjectError(`no map ${name} in the object`);
    const { bytes } = definition;
    const number = bytes.readUInt32LE(0);
    const type = Object.entries(mapTypes).find(([, value]) => value === number)?.[0] as BpfMapType | undefined;
    if (type === undefined) throw new BpfObjectError(`map ${name}: type ${number} is not supported`);
    return BpfMap.create({
      name,
      type,
      keySize: bytes.readUInt32LE(4),
      valueSize: bytes.readUInt32LE(8),
      maximumEntries: bytes.readUInt32LE(12),
      flags: bytes.readUInt32LE(16),
    });
  }

  /**
   * Loads one of the file's programs with these maps, by name.
   * @throws BpfObjectError when a map that it uses is not given; BpfVerifierError when the kernel refuses it.
   */
  loadProgram(name: string, maps: ReadonlyMap<string, BpfMap>, kind: BpfProgramKind = 'traffic-control'): BpfProgram {
    const definition = this.#programs.get(name);
    if (definition === undefined) throw new BpfObjectError(`no program ${name} in the object`);
    const instructions = Buffer.from(definition.bytes);
    for (const { offset, map: mapName } of definition.references) {
      const map = maps.get(mapName);
      if (map === undefined) throw new BpfObjectError(`program ${name} needs map ${mapName}`);
      const registers = instructions.readUInt8(offset + 1) & 0x0f;
      instructions.writeUInt8(registers | (BPF_PSEUDO_MAP_FD << 4), offset + 1);
      instructions.writeInt32LE(map.fd, offset + 4);
    }
    return BpfProgram.load({ name, instructions, license: this.#license, kind });
  }
}

function readSections(file: Buffer): Section[] {
  // Elf64_Ehdr: e_ident, e_machine at 18, e_shoff at 40, e_shentsize at 58, e_shnum, e_shstrndx.
  if (
    file.length < FILE_HEADER_SIZE ||
    file.readUInt32LE(0) !== MAGIC ||
    file.readUInt16BE(4) !== CLASS_64_LITTLE_ENDIAN
  ) {
    throw new BpfObjectError('not a 64-bit little-endian ELF file');
  }
  if (file.readUInt16LE(18) !== EM_BPF) throw new BpfObjectError('an ELF file, but not for BPF');
  const start = Number(file.readBigUInt64LE(40));
  const size = file.readUInt16LE(58);
  const headers = Array.from({ length: file.readUInt16LE(60) }, (_, index) => {
    const header = slice(file, start + index * size, SECTION_HEADER_SIZE);
    const type = header.readUInt32LE(4);
    const offset = Number(header.readBigUInt64LE(24));
    const length = type === SHT_NOBITS ? 0 : Number(header.readBigUInt64LE(32));
    return {
      nameOffset: header.readUInt32LE(0),
      type,
      flags: header.readBigUInt64LE(8),
      link: header.readUInt32LE(40),
      info: header.readUInt32LE(44),
      bytes: slice(file, offset, length),
    };
  });
  const names = headers[file.readUInt16LE(62)]?.bytes ?? Buffer.alloc(0);
  return headers.map(({ nameOffset, ...section }) => ({ ...section, name: textAt(names, nameOffset) }));
}

function readSymbols(sections: readonly Section[]): Symbol64[] {
  const table = sections.find(({ type }) => type === SHT_SYMTAB);
  if (table === undefined) throw new BpfObjectError('no symbols in the object');
  const names = sections[table.link]?.bytes ?? Buffer.alloc(0);
  return Array.from({ length: Math.floor(table.bytes.length / SYMBOL_SIZE) }, (_, index) => {
    const symbol = slice(table.bytes, index * SYMBOL_SIZE, SYMBOL_SIZE);
    return {
      name: textAt(names, symbol.readUInt32LE(0)),
      type: symbol.readUInt8(4) & 0x0f,
      section: symbol.readUInt16LE(6),
      value: Number(symbol.readBigUInt64LE(8)),
    };
  });
}

const isProgram = ({ type, flags, bytes }: Section): boolean =>
  type === SHT_PROGBITS && (flags & SHF_EXECINSTR) !== 0n && bytes.length > 0;

function mapDefinition(section: Section | undefined, { name, value }: Symbol64): Definition {
  return { name, bytes: slice(section?.bytes ?? Buffer.alloc(0), value, MAP_DEFINITION_SIZE) };
}

function programDefinition(
  sections: readonly Section[],
  symbols: readonly Symbol64[],
  index: number,
  maps: ReadonlyMap<string, Definition>,
): [string, ProgramDefinition] {
  const section = sections[index];
  const functions = symbols.filter((symbol) => symbol.section === index && symbol.type === STT_FUNC);
  const [first, second] = functions;
  if (section === undefined || first === undefined || second !== undefined) {
    throw new BpfObjectError(`section ${section?.name}: ${functions.length} functions, there must be one`);
  }
  const relocations = sections.filter(({ type, info }) => type === SHT_REL && info === index);
  const references = relocations.flatMap(({ bytes }) =>
    Array.from({ length: Math.floor(bytes.length / RELOCATION_SIZE) }, (_, entry) => {
      const offset = Number(bytes.readBigUInt64LE(entry * RELOCATION_SIZE));
      const information = bytes.readBigUInt64LE(entry * RELOCATION_SIZE + 8);
      const map = symbols[Number(information >> 32n)]?.name ?? '';
      const isWideLoad =
        section.bytes.length >= offset + 2 * INSTRUCTION_SIZE && section.bytes[offset] === BPF_LD_IMM64;
      if ((information & 0xffffffffn) !== R_BPF_64_64 || !isWideLoad || !maps.has(map)) {
        throw new BpfObjectError(`${first.name} refers to ${map || 'something without a name'}, which is no map`);
      }
      return { offset, map };
    }),
  );
  return [first.name, { name: first.name, bytes: section.bytes, references }];
}

function slice(bytes: Buffer, offset: number, length: number): Buffer {
  if (offset + length > bytes.length) throw new BpfObjectError('the object file is cut short');
  return bytes.subarray(offset, offset + length);
}

function textAt(bytes: Buffer, offset: number): string {
  const end = bytes.indexOf(0, offset);
  return bytes.toString('latin1', offset, end < 0 ? bytes.length : end);
}
