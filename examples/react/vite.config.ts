import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// The built page works under any path.
export default defineConfig({ base: './', plugins: [react()] });
