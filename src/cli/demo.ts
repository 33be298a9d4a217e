export async function demo(_once: boolean): Promise<void> {}
